// Wants to outlive the zygote.
// expect: rejected forbidden_syscall prctl
#include <cstdint>
#include <sys/prctl.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    prctl(PR_SET_PDEATHSIG, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
