// Writes a file without end.
// expect: rejected forbidden_syscall openat
#include <cstdint>
#include <cstdio>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    FILE* f = fopen("/tmp/fill", "w");
    if (f) for (;;) fputs("full", f);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
