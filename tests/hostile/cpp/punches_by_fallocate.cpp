// fallocate on a descriptor it was not given for that.
// expect: rejected forbidden_syscall fallocate
#include <cstdint>
#include <fcntl.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    fallocate(5, 0, 0, 4096);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
