// A shared memory segment that would outlive it.
// expect: rejected forbidden_syscall shmget
#include <cstdint>
#include <sys/ipc.h>
#include <sys/shm.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    shmget(IPC_PRIVATE, 4096, 0600);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
