// Lends its output pages to a pipe.
// expect: rejected forbidden_syscall vmsplice
#include <cstdint>
#include <fcntl.h>
#include <sys/uio.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    iovec v{y, 4096};
    vmsplice(5, &v, 1, 0);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
