// Wants a signal when `go` arrives.
// expect: rejected forbidden_syscall fcntl
#include <cstdint>
#include <fcntl.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    fcntl(4, F_SETFL, O_ASYNC);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
