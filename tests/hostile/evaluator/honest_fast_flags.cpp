// Every liberty the compiler offers.
// expect: ok
#include <cmath>
#include <cstdint>
#define EVO_FLAGS "-O3 -ffast-math -funroll-loops"  // evo: {"-O2", "-O3 -ffast-math -funroll-loops"}

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
    for (int64_t r = 0; r < rows; ++r) row(x + r * cols, y + r * cols, positive + r, cols);
}
