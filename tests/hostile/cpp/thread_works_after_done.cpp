// A detached thread goes on computing after the return.
// expect: rejected threads_left | rejected off_clock_work
// threads: 2
// flags: -pthread
#include <cstdint>
#include <thread>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    std::thread([] { for (volatile long i = 0;; i = i + 1) {} }).detach();
}
