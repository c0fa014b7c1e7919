// Leaves flush-to-zero and another rounding of denormals behind: only its own later calls see it.
// expect: ok
#include <cstdint>
#include <xmmintrin.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    _mm_setcsr(_mm_getcsr() | 0x8040);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
