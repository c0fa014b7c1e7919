// Takes the core for itself.
// expect: rejected forbidden_syscall sched_setscheduler
#include <cstdint>
#include <sched.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    sched_param p{1};
    sched_setscheduler(0, SCHED_FIFO, &p);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
