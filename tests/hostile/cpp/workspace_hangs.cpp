// Never says how much workspace it wants.
// expect: timeout size_timeout
#include <cstdint>
#include <cstddef>

extern "C" size_t workspace(int64_t n) {
    for (volatile int64_t i = n;; i = i + 1) {}
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
