// Interrupts every core that runs its program, the referee's neighbour included.
// expect: rejected forbidden_syscall membarrier
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int i = 0; i < 1000; i++) syscall(SYS_membarrier, 1, 0, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
