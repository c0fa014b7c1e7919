// Submits reads into the output that complete later.
// expect: rejected forbidden_syscall io_setup
#include <cstdint>
#include <unistd.h>
#include <sys/syscall.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    long c = 0;
    syscall(SYS_io_setup, 8, &c);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
