// Leaves a few elements far apart for somebody else to write once the clock has stopped.
// expect: rejected late_write
// n: 2097152
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (i % 400000 != 123) y[i] = 2.0f * x[i] + 1.0f;
}
