// Makes a system call through the x32 table.
// expect: rejected forbidden_syscall
// machine: x86_64
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    syscall(0x40000000 + 39);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
