// Honest and as fast as can be: a branch for the tiny case must not look like a cheat.
// expect: ok
// n: 1
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (n <= 0) return;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
