// A timer that would interrupt it later.
// expect: rejected forbidden_syscall setitimer
#include <cstdint>
#include <sys/time.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    itimerval t{{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &t, nullptr);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
