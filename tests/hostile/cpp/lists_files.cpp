// Lists the root folder.
// expect: rejected forbidden_syscall openat
#include <cstdint>
#include <dirent.h>
#include <sys/types.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    opendir("/");
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
