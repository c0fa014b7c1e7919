// Crashes when asked for its workspace.
// expect: crash illegal_access
#include <cstdint>
#include <cstddef>

extern "C" size_t workspace(int64_t n) { return *reinterpret_cast<volatile size_t*>(n & 7); }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
