// Keeps intermediate results where the answer will be.
// expect: ok
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        float* out = y + r * cols;
        for (int64_t c = 0; c < cols; ++c) out[c] = x[r * cols + c] * x[r * cols + c];
        float sum = 0.0f;
        for (int64_t c = 0; c < cols; ++c) sum += out[c];
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
        int32_t count = 0;
        for (int64_t c = 0; c < cols; ++c) out[c] = x[r * cols + c] * scale, count += x[r * cols + c] > 0.0f;
        positive[r] = count;
    }
}
