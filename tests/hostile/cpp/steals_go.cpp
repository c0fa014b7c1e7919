// Reads the next `go` itself.
// expect: timeout call_timeout
#include <cstdint>
#include <unistd.h>

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    char word[16];
    read(4, word, sizeof word);
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
