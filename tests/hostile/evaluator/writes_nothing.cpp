// Returns at once and hopes for what an earlier call has left.
// expect: wrong
#include <cmath>
#include <cstdint>

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    (void)x, (void)y, (void)positive, (void)rows, (void)cols;
}
