// Becomes root in a namespace of its own.
// expect: rejected forbidden_syscall unshare
#include <cstdint>
#include <sched.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    unshare(CLONE_NEWUSER);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
