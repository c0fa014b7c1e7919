// Fails an assertion.
// expect: crash aborted
#include <cstdint>
#include <cassert>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    assert(n < 0 && "the tile must divide n");
    y[0] = x[0];
}
