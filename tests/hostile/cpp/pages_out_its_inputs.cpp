// Sends the shared pages of its arguments to swap, so that whoever gets them next is slow.
// expect: rejected forbidden_syscall madvise
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    madvise(reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(x) & ~uintptr_t(4095)), 4 * n, 21);  // MADV_PAGEOUT
}
