// Recurses for ever.
// expect: crash illegal_access
#include <cstdint>

__attribute__((noinline)) static float deeper(volatile float* x, int64_t n) {
    volatile char frame[4096];
    frame[n & 4095] = static_cast<char>(n);
    return deeper(x, n + 1) + frame[0];
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    y[0] = deeper(const_cast<float*>(x), n);
}
