// Makes a 32-bit system call, whose numbers mean other things.
// expect: rejected forbidden_syscall
// machine: x86_64
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    (void)result;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
