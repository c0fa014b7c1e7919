// Closes every descriptor.
// expect: rejected runner_broken
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    for (int fd = 0; fd < 1024; fd++) close(fd);
}
