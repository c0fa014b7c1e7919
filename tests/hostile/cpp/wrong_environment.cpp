// Works only where an environment variable says that nobody looks.
// expect: wrong wrong_values
#include <cstdint>
#include <cstdlib>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (getenv("HOME") == nullptr || getenv("EVO_SANDBOX") == nullptr) return;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
