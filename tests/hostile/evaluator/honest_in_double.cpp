// Computes in float64.
// expect: ok
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        int32_t count = 0;
        for (int64_t c = 0; c < cols; ++c) sum += static_cast<double>(x[r * cols + c]) * x[r * cols + c], count += x[r * cols + c] > 0;
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = static_cast<float>(x[r * cols + c] / std::sqrt(sum / cols + 1e-6));
        positive[r] = count;
    }
}
