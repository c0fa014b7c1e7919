// Honest: two threads at once, the second is joined before the return.
// expect: ok
// threads: 2
// flags: -pthread
#include <cstdint>
#include <thread>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    std::thread half([=] { for (int64_t i = n / 2; i < n; i++) y[i] = 2.0f * x[i] + 1.0f; });
    for (int64_t i = 0; i < n / 2; i++) y[i] = 2.0f * x[i] + 1.0f;
    half.join();
}
