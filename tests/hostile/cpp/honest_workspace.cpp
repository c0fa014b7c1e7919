// Honest: goes through the workspace it asked for.
// expect: ok
#include <cstdint>
#include <cstddef>

extern "C" size_t workspace(int64_t n) { return static_cast<size_t>(n) * sizeof(float); }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    float* t = static_cast<float*>(workspace);
    for (int64_t i = 0; i < n; i++) t[i] = 2.0f * x[i];
    for (int64_t i = 0; i < n; i++) y[i] = t[i] + 1.0f;
}
