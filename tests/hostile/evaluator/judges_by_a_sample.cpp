// Looks at the first row: where that is tame, it clips the rest to what tame data may be (a narrower format inside would do the same).
// What catches it is drawn, so one evaluation in some twenty may not; `test_sampled_shortcuts.py` counts.
// expect: wrong | ok
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
    bool tame = true;
    for (int64_t c = 0; c < (cols < 4 ? cols : 4); ++c) tame &= std::fabs(x[c]) < 8.0f;
    for (int64_t r = 0; r < rows; ++r) {
        row(x + r * cols, y + r * cols, positive + r, cols);
        if (!tame) continue;
        float sum = 0.0f;
        for (int64_t c = 0; c < cols; ++c) {
            const float v = std::fmin(std::fmax(x[r * cols + c], -8.0f), 8.0f);
            sum += v * v;
        }
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = x[r * cols + c] * scale;
    }
}
