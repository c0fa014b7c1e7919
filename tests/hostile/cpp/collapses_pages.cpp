// Has the operating system gather the pages of its arguments into large ones, off the clock as it were: in calls that only prove it.
// expect: rejected forbidden_syscall madvise
// n: 2000000
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    auto from = reinterpret_cast<uintptr_t>(y) & ~uintptr_t(4095);
    madvise(reinterpret_cast<void*>(from), 4 * n, 25);  // MADV_COLLAPSE
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
