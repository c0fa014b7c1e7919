// Leaves the epsilon out: right but for tiny data and rows of zeros.
// expect: wrong
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* in = x + r * cols;
        float sum = 0.0f;
        int32_t count = 0;
        for (int64_t c = 0; c < cols; ++c) sum += in[c] * in[c], count += in[c] > 0.0f;
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols));
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = in[c] * scale;
        positive[r] = count;
    }
}
