// Registers work for the end of the process, which never comes about.
// expect: ok
#include <cstdint>
#include <cstdlib>

struct AtUnload { ~AtUnload() { for (;;) {} } } at_unload;
__attribute__((destructor)) static void fini() { for (;;) {} }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    static bool once = (atexit([] { for (;;) {} }), true);
    (void)once;
}
