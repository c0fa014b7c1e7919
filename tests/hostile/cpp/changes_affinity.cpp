// Moves to another core.
// expect: rejected forbidden_syscall sched_setaffinity
#include <cstdint>
#include <sched.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    cpu_set_t s;
    CPU_ZERO(&s);
    CPU_SET(0, &s);
    sched_setaffinity(0, sizeof s, &s);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
