// Lays memory of its own over the page that holds the end of its output and the guard behind it, so that nobody sees what it writes there.
// expect: wrong wrong_values | crash illegal_access | rejected guard_zone
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    auto end = reinterpret_cast<uintptr_t>(y + n) & ~uintptr_t(4095);
    mmap(reinterpret_cast<void*>(end), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    for (int64_t i = 0; i < n + 16; i++) y[i] = 2.0f * x[i < n ? i : 0] + 1.0f;
}
