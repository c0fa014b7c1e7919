// Lifts its own limits.
// expect: rejected forbidden_syscall prlimit64
#include <cstdint>
#include <sys/resource.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    rlimit r{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &r);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
