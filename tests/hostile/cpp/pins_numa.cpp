// Changes the placement of memory.
// expect: rejected forbidden_syscall mbind
#include <cstdint>
#include <unistd.h>
#include <sys/syscall.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    syscall(SYS_mbind, 0, 0, 0, 0, 0, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
