// Behaves while it believes to be checked, then stops working.
// expect: wrong wrong_values
#include <cstdint>

static int calls;

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (++calls > 3) return;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
