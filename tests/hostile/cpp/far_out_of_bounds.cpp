// Writes far past the end of the output.
// expect: crash illegal_access
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    y[n + (int64_t(1) << 40)] = 0.0f;
}
