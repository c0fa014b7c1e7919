// Returns at once and lets a detached thread write the answer later.
// expect: rejected threads_left | rejected off_clock_work
// threads: 2
// flags: -pthread
#include <cstdint>
#include <thread>
#include <ctime>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    std::thread([=] {
        timespec t{0, 1000000};
        nanosleep(&t, nullptr);
        for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    }).detach();
}
