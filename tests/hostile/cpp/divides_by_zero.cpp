// Divides an integer by zero.
// expect: crash arithmetic_fault
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    volatile int64_t zero = 0;
    y[0] = x[0] + static_cast<float>(n / zero);
}
