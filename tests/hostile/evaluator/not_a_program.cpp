// No C++ at all.
// expect: build_error
#include <cmath>
#include <cstdint>

return to sender;
