// Compiles, and has no kernel.
// expect: build_error missing_symbol
#include <cmath>
#include <cstdint>

extern "C" void kernels(const float*, float*) {}
