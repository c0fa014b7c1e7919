// Rows and columns from the last to the first.
// expect: ok
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = rows; r-- > 0;) {
        float sum = 0.0f;
        int32_t count = 0;
        for (int64_t c = cols; c-- > 0;) sum += x[r * cols + c] * x[r * cols + c], count += x[r * cols + c] > 0.0f;
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
        for (int64_t c = cols; c-- > 0;) y[r * cols + c] = x[r * cols + c] * scale;
        positive[r] = count;
    }
}
