// An idle-looking pool larger than allowed stays behind.
// expect: rejected threads_left | rejected off_clock_work
// threads: 2
// flags: -pthread
#include <cstdint>
#include <thread>
#include <mutex>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    static std::mutex m;
    static bool once = [] {
        m.lock();
        for (int i = 0; i < 8; i++) std::thread([] { m.lock(); }).detach();
        return true;
    }();
    (void)once;
}
