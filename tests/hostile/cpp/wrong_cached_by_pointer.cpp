// Caches its answer by the input address.
// expect: wrong wrong_values
#include <cstdint>
#include <cstring>

static const float* last;
static float answer[4096];

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (last == x) { memcpy(y, answer, sizeof answer); return; }
    last = x;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    memcpy(answer, y, sizeof(float) * (n < 4096 ? n : 4096));
}
