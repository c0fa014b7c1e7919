// Ends the process with status 0 in its first call.
// expect: crash exited
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x; (void)y; (void)n;
    _exit(0);
}
