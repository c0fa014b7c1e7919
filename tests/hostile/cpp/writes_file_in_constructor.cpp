// Tries to leave a file while it is loaded; the view is read-only or files have size 0, so it gains nothing.
// expect: ok
#include <cstdint>
#include <fcntl.h>

__attribute__((constructor)) static void at_load() {
    int fd = open("/work.txt", O_CREAT | O_WRONLY, 0600);
    (void)fd;
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
