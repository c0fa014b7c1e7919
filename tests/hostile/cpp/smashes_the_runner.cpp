// Overwrites the stack of its caller.
// expect: crash | rejected | timeout
// flags: -O0 -fno-stack-protector
#include <cstdint>
#include <cstring>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    char here;
    memset(&here, 0x41, 1 << 16);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
