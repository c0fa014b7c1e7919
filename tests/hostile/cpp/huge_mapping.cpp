// Asks for a terabyte at once.
// expect: out_of_memory memory_limit
#include <cstdint>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    y[0] = *static_cast<float*>(mmap(nullptr, size_t(1) << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}
