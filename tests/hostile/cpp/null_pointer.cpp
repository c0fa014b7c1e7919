// Reads address 0.
// expect: crash illegal_access
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x;
    for (int64_t i = 0; i < n; i++) y[i] = *reinterpret_cast<volatile float*>(i * 4);
}
