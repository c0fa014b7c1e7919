// Asks for a real-time class of input and output and for no swapping: services that leave traces outside the process.
// expect: rejected forbidden_syscall ioprio_set
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    syscall(SYS_ioprio_set, 1, 0, 1 << 13);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
