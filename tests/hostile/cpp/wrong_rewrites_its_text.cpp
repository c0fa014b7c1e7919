// Replaces its own first instruction by `ret` after the first call.
// expect: wrong wrong_values
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    auto page = reinterpret_cast<uintptr_t>(&kernel) & ~uintptr_t(4095);
    mprotect(reinterpret_cast<void*>(page), 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
    *reinterpret_cast<volatile unsigned char*>(&kernel) = 0xC3;
}
