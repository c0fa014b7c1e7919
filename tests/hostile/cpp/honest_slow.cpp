// Honest but slow: it sleeps two milliseconds on the clock.
// expect: ok
#include <cstdint>
#include <ctime>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    timespec t{0, 2000000};
    nanosleep(&t, nullptr);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
