// Honest: allocates scratch memory of its own.
// expect: ok
#include <cstdint>
#include <cstdlib>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    float* t = static_cast<float*>(malloc(64 << 20));
    if (t == nullptr) return;
    for (int64_t i = 0; i < n; i++) t[i * 100 % (16 << 20)] = x[i];
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    free(t);
}
