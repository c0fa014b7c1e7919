// Keeps a copy of the channel.
// expect: rejected forbidden_syscall dup2
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    dup2(5, 100);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
