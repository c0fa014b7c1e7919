// Pins its memory.
// expect: rejected forbidden_syscall mlockall
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    mlockall(MCL_CURRENT | MCL_FUTURE);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
