// Blocks every signal there is; SIGSTOP and SIGKILL do not ask.
// expect: ok
#include <cstdint>
#include <csignal>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
