// operator new gives up and nobody catches it.
// expect: out_of_memory memory_limit
// memory: 268435456
#include <cstdint>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    (void)x;
    for (int64_t i = 0;; i++) (new volatile char[1 << 26])[i & 1023] = static_cast<char>(n);
    y[0] = 0;
}
