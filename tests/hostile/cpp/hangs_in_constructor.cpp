// Never finishes loading.
// expect: timeout load_timeout
#include <cstdint>

__attribute__((constructor)) static void at_load() {
    for (volatile int i = 0;; i = i + 1) {}
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
