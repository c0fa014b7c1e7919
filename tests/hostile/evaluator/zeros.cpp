// Zeros: right wherever the data are.
// expect: wrong
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows * cols; ++i) y[i] = 0.0f;
    for (int64_t r = 0; r < rows; ++r) positive[r] = 0;
}
