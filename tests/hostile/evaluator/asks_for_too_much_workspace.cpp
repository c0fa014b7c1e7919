// More workspace than any machine has.
// expect: out_of_memory memory_limit
#include <cmath>
#include <cstddef>
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

extern "C" size_t workspace(int64_t, int64_t) { return size_t{1} << 50; }

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
}
