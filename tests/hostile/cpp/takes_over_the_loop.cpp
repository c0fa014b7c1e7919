// Never returns: finds the word it needs in the interpreter, serves the channel itself, says `done` at once and computes afterwards.
// expect: rejected off_clock_work | rejected protocol_violation | wrong wrong_values | crash exited
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <unistd.h>

struct Slot { const float* x; float* y; int64_t n; };
static Slot slots[4];
static int calls;
static sigjmp_buf unreadable;

static void work(const float* x, float* y, int64_t n) {
    for (int again = 0; again < 4000; again++)
        for (int64_t i = 0; i < n; i++) static_cast<volatile float*>(y)[i] = 2.0f * x[i] + 1.0f;
}

struct Bytes { uint64_t references; const void* type; int64_t size; int64_t hash; char data[16]; };

// The `go` word of this call is a live bytes object of 16 bytes whose second half is a small number.
static const char* find_word() {
    const void* type = dlsym(RTLD_DEFAULT, "PyBytes_Type");
    signal(SIGSEGV, [](int) { siglongjmp(unreadable, 1); });
    volatile uintptr_t* stack = reinterpret_cast<uintptr_t*>(__builtin_frame_address(0));
    uintptr_t tried[64] = {};
    volatile int count = 0;
    for (volatile int i = 0; i < 4000 && count < 64; i = i + 1) {
        uintptr_t region = stack[i] & ~((uintptr_t(1) << 20) - 1);
        if (region < 1 << 20 || region >> 47) continue;
        bool known = false;
        for (int k = 0; k < count; k++) known |= tried[k] == region;
        if (known) continue;
        tried[count] = region;
        count = count + 1;
        for (volatile uintptr_t page = region; page < region + (1 << 20); page = page + 4096) {
            if (sigsetjmp(unreadable, 1) != 0) continue;
            for (uintptr_t at = page; at + sizeof(Bytes) <= page + 4096; at += 16) {
                auto* found = reinterpret_cast<const Bytes*>(at);
                uint64_t number;
                memcpy(&number, found->data + 8, 8);
                if (found->type == type && found->size == 16 && found->references - 1 < 100 && number < 4) return found->data;
            }
        }
    }
    return nullptr;
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    slots[calls & 3] = {x, y, n};
    work(x, y, n);
    if (++calls < 3) return;
    const char* mine = find_word();
    if (mine == nullptr) _exit(9);  // not found this time: give up loudly
    write(5, mine, 8);
    for (;;) {
        char word[16];
        if (read(4, word, sizeof word) != sizeof word) _exit(3);
        write(5, word, 8);
        for (auto& slot : slots)
            if (slot.y != nullptr) work(slot.x, slot.y, slot.n);
    }
}
