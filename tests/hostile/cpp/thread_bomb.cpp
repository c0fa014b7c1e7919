// Starts threads without end.
// expect: rejected thread_bomb | rejected threads_left | rejected off_clock_work | crash aborted
// threads: 2
// flags: -pthread
#include <cstdint>
#include <thread>
#include <ctime>

static void pause_() {
    timespec t{1, 0};
    nanosleep(&t, nullptr);
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x; (void)y; (void)n;
    for (;;) std::thread([] { for (;;) pause_(); }).detach();
}
