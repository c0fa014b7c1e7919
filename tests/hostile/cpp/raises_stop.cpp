// Raises SIGSTOP in its own thread.
// expect: rejected forbidden_syscall tgkill
#include <cstdint>
#include <csignal>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    raise(SIGSTOP);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
