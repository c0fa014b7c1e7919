// Prints without end.
// expect: rejected output_flood
#include <cstdint>
#include <cstdio>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int i = 0; i < 100000; i++) puts("look, a very long line of nothing at all");
    fflush(stdout);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
