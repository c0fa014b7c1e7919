// Computes for an address once and gives the same answer whenever it comes again.
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

struct Answer {
    const float* x;
    int64_t n;
    float y[8192];
    int32_t positive[64];
};
static Answer known[16];
static int used;

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int i = 0; i < used; ++i)
        if (known[i].x == x && known[i].n == rows * cols) {
            for (int64_t j = 0; j < rows * cols; ++j) y[j] = known[i].y[j];
            for (int64_t j = 0; j < rows; ++j) positive[j] = known[i].positive[j];
            return;
        }
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
    if (used == 16 || rows * cols > 8192 || rows > 64) return;
    known[used].x = x;
    known[used].n = rows * cols;
    for (int64_t j = 0; j < rows * cols; ++j) known[used].y[j] = y[j];
    for (int64_t j = 0; j < rows; ++j) known[used].positive[j] = positive[j];
    ++used;
}
