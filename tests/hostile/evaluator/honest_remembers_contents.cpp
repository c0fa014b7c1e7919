// Suspicious and right: keeps its last answer and gives it again for the very same data.
// expect: ok
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

static float input[8192], answer[8192];
static int32_t counts[64];
static int64_t kept = -1;

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    bool same = rows * cols == kept;
    for (int64_t j = 0; same && j < kept; ++j) same = input[j] == x[j];
    if (same) {
        for (int64_t j = 0; j < kept; ++j) y[j] = answer[j];
        for (int64_t j = 0; j < rows; ++j) positive[j] = counts[j];
        return;
    }
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
    kept = rows * cols <= 8192 && rows <= 64 ? rows * cols : 0;
    for (int64_t j = 0; j < kept; ++j) input[j] = x[j], answer[j] = y[j];
    for (int64_t j = 0; j < rows; ++j) counts[j % 64] = positive[j];
}
