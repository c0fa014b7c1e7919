// Calls home while it is loaded.
// expect: rejected forbidden_syscall socket
#include <cstdint>
#include <sys/socket.h>

__attribute__((constructor)) static void at_load() { socket(AF_INET, SOCK_DGRAM, 0); }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
