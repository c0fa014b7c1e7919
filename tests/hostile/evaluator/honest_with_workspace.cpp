// Scratch memory from the evaluator, poisoned before each call.
// expect: ok
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

extern "C" size_t workspace(int64_t, int64_t cols) { return static_cast<size_t>(cols) * sizeof(float); }

extern "C" void kernel(const float* x, float* y, int32_t* positive, void* memory, int64_t rows, int64_t cols) {
    float* scratch = static_cast<float*>(memory);
    for (int64_t r = 0; r < rows; ++r) {
        row(x + r * cols, scratch, positive + r, cols);
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = scratch[c];
    }
}
