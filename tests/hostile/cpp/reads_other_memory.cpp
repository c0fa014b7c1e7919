// Reads the memory of another process.
// expect: rejected forbidden_syscall process_vm_readv
#include <cstdint>
#include <sys/uio.h>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    char b[8];
    iovec l{b, 8}, r{b, 8};
    process_vm_readv(getppid(), &l, 1, &r, 1, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
