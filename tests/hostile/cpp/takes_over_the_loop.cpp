// Never returns: serves the channel itself, says `done` at once and computes afterwards.
// expect: rejected off_clock_work | wrong wrong_values
#include <cstdint>
#include <unistd.h>

struct Slot { const float* x; float* y; int64_t n; };
static Slot slots[8];
static int calls;
static void work(const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
static const char* last_word() { return "12345678"; }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    work(x, y, n);
    slots[calls++ & 7] = {x, y, n};
    if (calls < 3) return;
    write(5, last_word(), 8);  // wrong on purpose for this call; the loop below would have the right words
    for (;;) {
        char word[16];
        if (read(4, word, 16) != 16) _exit(3);
        write(5, word, 8);
        for (auto& slot : slots) if (slot.y) work(slot.x, slot.y, slot.n);
    }
}
