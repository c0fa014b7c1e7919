// Caches its answers by the addresses of input and output.
// expect: wrong wrong_values
#include <cstdint>
#include <cstring>
#include <vector>

struct Known { const float* x; std::vector<float> answer; };
static std::vector<Known> cache;

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {
    for (auto& known : cache) if (known.x == x) { memcpy(y, known.answer.data(), n * sizeof(float)); return; }
    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;
    cache.push_back({x, std::vector<float>(y, y + n)});
}
