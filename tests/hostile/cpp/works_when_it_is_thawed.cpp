// Does the work of every call in the handler of SIGCONT, which runs whenever it is thawed, on what lies in its slots.
// expect: wrong wrong_values | rejected off_clock_work
#include <csignal>
#include <cstdint>

static const float* from[2];
static float* to[2];
static int64_t count;

static void thawed(int) {
    for (int k = 0; k < 2; k++)
        if (to[k] != nullptr)
            for (int64_t i = 0; i < count; i++) to[k][i] = 2.0f * from[k][i] + 1.0f;
}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    static int calls;
    from[calls & 1] = x;
    to[calls & 1] = y;
    count = n;
    signal(SIGCONT, thawed);
    if (++calls == 5) y[n / 2] = 0.0f;  // what the handler did before was the honest work, within the clock; this is not
    else if (calls < 3)
        for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
}
