// Normalises in place and copies.
// expect: crash illegal_access
#include <cmath>
#include <cstdint>

static void row(const float* x, float* y, int32_t* positive, int64_t cols) {
    float sum = 0.0f;
    int32_t count = 0;
    for (int64_t c = 0; c < cols; ++c) {
        sum += x[c] * x[c];
        count += x[c] > 0.0f;
    }
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
    for (int64_t c = 0; c < cols; ++c) y[c] = x[c] * scale;
    *positive = count;
}

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    float* in = const_cast<float*>(x);
    in[0] = 1.0f;
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
}
