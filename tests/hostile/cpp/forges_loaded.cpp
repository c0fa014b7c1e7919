// Answers the question of the loader before the loader does.
// expect: rejected protocol_violation
#include <cstdint>
#include <sys/socket.h>

__attribute__((constructor)) static void at_load() {
    for (int i = 0; i < 5; i++) send(3, "{\"id\": 1, \"ok\": \"loaded\", \"workspace\": false}", 48, MSG_DONTWAIT);
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
