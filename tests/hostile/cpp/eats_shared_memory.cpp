// Hides what it takes in shared pages that it unmaps from view.
// expect: out_of_memory memory_limit | crash
// memory: 67108864
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (;;) {
        void* p = mmap(nullptr, 1 << 24, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) abort();
        memset(p, 1, 1 << 24);
        madvise(p, 1 << 24, MADV_DONTNEED);
    }
}
