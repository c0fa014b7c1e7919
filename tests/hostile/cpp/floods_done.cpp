// Writes `done` words ahead until the pipe is full.
// expect: rejected protocol_violation
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int i = 0; i < 1000; i++) write(5, "1234567812345678", 16);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
