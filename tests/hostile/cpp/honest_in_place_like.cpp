// Honest: copies the input over and works in place on the output.
// expect: ok
#include <cstdint>
#include <cstring>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    memcpy(y, x, n * sizeof(float));
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * y[i] + 1.0f;
}
