// Submits writes that complete later.
// expect: rejected forbidden_syscall io_uring_setup
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    char p[256] = {};
    syscall(425, 8, p);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
