// Refers to a function that nobody defines.
// expect: crash missing_symbol
#include <cstdint>

extern "C" void not_there(float*);

extern "C" void kernel(const float*, float* y, void*, int64_t) { not_there(y); }
