// Looks for the other slots in its address map.
// expect: rejected forbidden_syscall openat
#include <cstdint>
#include <fcntl.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    open("/proc/self/maps", O_RDONLY);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
