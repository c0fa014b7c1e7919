// Ends the process with status 0 after two good calls.
// expect: crash exited
#include <cstdint>
#include <cstdlib>

static int calls;

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    if (++calls == 3) exit(0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
