// A channel of its own.
// expect: rejected forbidden_syscall socketpair
#include <cstdint>
#include <sys/socket.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    int fds[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
