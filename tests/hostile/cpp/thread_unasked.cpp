// Starts a thread where the configuration allows one.
// expect: rejected forbidden_syscall clone
// flags: -pthread
#include <cstdint>
#include <thread>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    std::thread t([=] { y[0] = x[0]; });
    t.join();
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
