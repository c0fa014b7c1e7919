// Honest: prints a line a call, far below the limit.
// expect: ok
#include <cstdint>
#include <cstdio>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    printf("n = %ld\n", static_cast<long>(n));
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
