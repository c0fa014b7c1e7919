// A message queue that would outlive it.
// expect: rejected forbidden_syscall mq_open
#include <cstdint>
#include <unistd.h>
#include <sys/syscall.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    syscall(SYS_mq_open, "/evo", 0102, 0600, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
