// Calls home.
// expect: rejected forbidden_syscall socket
#include <cstdint>
#include <sys/socket.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    socket(AF_INET, SOCK_STREAM, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
