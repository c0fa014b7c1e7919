// Honest: an OpenMP pool stays between calls, asleep.
// expect: ok
// threads: 2
// flags: -fopenmp
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    #pragma omp parallel for
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
