// Computes, then punches the output out of its file.
// expect: rejected forbidden_syscall madvise | wrong wrong_values
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    auto page = (reinterpret_cast<uintptr_t>(y) + 4095) & ~uintptr_t(4095);
    madvise(reinterpret_cast<void*>(page), 4096, MADV_REMOVE);
}
