// A timer whose SIGCONT would thaw it while it is frozen.
// expect: rejected forbidden_syscall timer_create
#include <cstdint>
#include <csignal>
#include <ctime>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    sigevent e{};
    e.sigev_notify = SIGEV_SIGNAL;
    e.sigev_signo = SIGCONT;
    timer_t t;
    timer_create(CLOCK_MONOTONIC, &e, &t);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
