// Answers the question about workspace itself, with a list of ten thousand lists.
// expect: rejected protocol_violation
#include <cstdint>
#include <cstddef>
#include <cstring>
#include <sys/socket.h>

static char text[40000];

extern "C" size_t workspace(int64_t n) {
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    send(3, text, 20000, MSG_DONTWAIT);
    return 64;
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
