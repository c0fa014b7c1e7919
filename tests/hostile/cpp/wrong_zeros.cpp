// Returns the expectation of a standard normal input instead of the answer.
// expect: wrong wrong_values
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x;
    for (int64_t i = 0; i < n; i++) y[i] = 1.0f;
}
