// Leaves the last element unwritten.
// expect: wrong wrong_values
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i + 1 < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
