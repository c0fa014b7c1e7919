// Kills whatever it can reach.
// expect: rejected forbidden_syscall kill
#include <cstdint>
#include <csignal>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    kill(-1, SIGKILL);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
