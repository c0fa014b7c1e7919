// Waits for a message that is not for it.
// expect: timeout call_timeout
#include <cstdint>
#include <sys/socket.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    char word[16];
    recv(3, word, sizeof word, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
