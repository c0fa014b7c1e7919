// Answers the question about workspace itself: a number of six thousand digits, then one that is no number.
// expect: rejected protocol_violation | out_of_memory memory_limit
#include <cstdint>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>

static char text[8000];

extern "C" size_t workspace(int64_t n) {
    strcpy(text, "{\"id\": 2, \"workspace\": ");
    size_t at = strlen(text);
    memset(text + at, '9', 6000);
    text[at + 6000] = '}';
    send(3, text, at + 6001, MSG_DONTWAIT);
    return 64;
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
