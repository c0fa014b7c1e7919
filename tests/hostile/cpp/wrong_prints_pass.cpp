// Says that all is well.
// expect: wrong wrong_values
#include <cstdint>
#include <cstdio>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x; (void)y; (void)n;
    puts("PASS\n{\"correct\": true, \"speedup\": 100.0}");
    fflush(stdout);
}
