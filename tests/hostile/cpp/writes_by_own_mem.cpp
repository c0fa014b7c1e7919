// Opens /proc/self/mem while it is loaded, to write where its mappings forbid it.
// expect: rejected forbidden_syscall write
#include <cstdint>
#include <fcntl.h>
#include <unistd.h>

static int mem;
__attribute__((constructor)) static void at_load() { mem = open("/proc/self/mem", O_RDWR); }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    write(mem, "xxxx", 4);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
