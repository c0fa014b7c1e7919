// Rows divided by their root mean square, and the number of positive elements of each.
#include <cmath>
#include <cstdint>

#define EVO_FLAGS "-O2"  // evo: {"-O1", "-O2", "-O3"}

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        float sum = 0.0f;
        int32_t count = 0;
        for (int64_t c = 0; c < cols; ++c) {
            const float value = x[r * cols + c];
            sum += value * value;
            if (value > 0.0f) count += 1;
        }
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
        for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = x[r * cols + c] * scale;
        positive[r] = count;
    }
}
