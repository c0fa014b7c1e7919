// Thousands of messages from the compiler.
// expect: build_error
#include <cmath>
#include <cstdint>

#define E f(;
#define E8 E E E E E E E E
#define E64 E8 E8 E8 E8 E8 E8 E8 E8
#define E512 E64 E64 E64 E64 E64 E64 E64 E64
E512 E512 E512 E512
