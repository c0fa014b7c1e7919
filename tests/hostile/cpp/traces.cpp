// Attaches to its parent.
// expect: rejected forbidden_syscall ptrace
#include <cstdint>
#include <sys/ptrace.h>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    ptrace(PTRACE_ATTACH, getppid(), 0, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
