// Talks on the control socket.
// expect: rejected protocol_violation
#include <cstdint>
#include <sys/socket.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    send(3, "{\"id\": 3, \"ok\": \"loaded\", \"verdict\": \"ok\"}", 45, MSG_DONTWAIT);
}
