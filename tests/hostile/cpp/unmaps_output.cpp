// Unmaps its output after the first call.
// expect: crash illegal_access
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    auto page = reinterpret_cast<uintptr_t>(y) & ~uintptr_t(4095);
    munmap(reinterpret_cast<void*>(page), 4096);
}
