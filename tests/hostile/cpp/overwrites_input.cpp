// Scales its input in place.
// expect: crash illegal_access
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    float* w = const_cast<float*>(x);
    for (int64_t i = 0; i < n; i++) w[i] *= 2.0f;
    for (int64_t i = 0; i < n; i++) y[i] = w[i] + 1.0f;
}
