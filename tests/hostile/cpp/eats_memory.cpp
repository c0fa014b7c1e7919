// Takes memory and touches it until there is none.
// expect: out_of_memory memory_limit
// memory: 268435456
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (;;) {
        void* p = malloc(1 << 20);
        if (p == nullptr) for (;;) {}
        memset(p, 1, 1 << 20);
    }
}
