// Exports clock_gettime and write of its own: nobody but itself is bound to them.
// expect: ok
#include <cstdint>
#include <ctime>

extern "C" int clock_gettime(clockid_t, timespec* t) { t->tv_sec = 0; t->tv_nsec = 0; return 0; }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
