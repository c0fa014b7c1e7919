// Honest for 30 calls, then answers every large one from memory: fast exactly where it is timed.
// expect: wrong
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

static float last[8192];
static int32_t counts[64];
static int64_t kept;

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    static int calls;
    if (++calls > 30 && rows * cols == kept) {
        for (int64_t j = 0; j < rows * cols; ++j) y[j] = last[j];
        for (int64_t j = 0; j < rows; ++j) positive[j] = counts[j];
        return;
    }
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
    if (rows * cols > 4096 && rows * cols <= 8192 && rows <= 64) {
        kept = rows * cols;
        for (int64_t j = 0; j < kept; ++j) last[j] = y[j];
        for (int64_t j = 0; j < rows; ++j) counts[j] = positive[j];
    }
}
