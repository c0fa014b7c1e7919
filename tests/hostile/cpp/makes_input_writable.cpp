// Asks for write permission on its input first; the kernel refuses, whatever it answers.
// expect: crash illegal_access
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    auto page = reinterpret_cast<uintptr_t>(x) & ~uintptr_t(4095);
    mprotect(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE);
    *const_cast<volatile float*>(x) = 0.0f;
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
