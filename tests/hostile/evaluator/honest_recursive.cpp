// Pairwise sums by recursion.
// expect: ok
#include <cmath>
#include <cstdint>

static float squares(const float* x, int64_t n) {
    if (n > 8) return squares(x, n / 2) + squares(x + n / 2, n - n / 2);
    float sum = 0.0f;
    for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
    return sum;
}

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* in = x + r * cols;
        const float scale = 1.0f / std::sqrt(squares(in, cols) / static_cast<float>(cols) + 1e-6f);
        int32_t count = 0;
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = in[c] * scale, count += in[c] > 0.0f;
        positive[r] = count;
    }
}
