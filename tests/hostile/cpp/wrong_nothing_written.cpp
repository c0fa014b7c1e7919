// Returns without writing, hoping for an earlier answer in the output.
// expect: wrong wrong_values
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x; (void)y; (void)n;
}
