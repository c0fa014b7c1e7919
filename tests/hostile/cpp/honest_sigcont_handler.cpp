// Catches SIGCONT, by which it is thawed: the handler runs on the clock and gains nothing.
// expect: ok
#include <cstdint>
#include <csignal>

static bool installed;
static volatile long spins;
static void on_continue(int) { for (long i = 0; i < 100000; i++) spins = spins + 1; }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (!installed) { signal(SIGCONT, on_continue); installed = true; }
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
