// Makes an anonymous file.
// expect: rejected forbidden_syscall memfd_create
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    memfd_create("hidden", 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
