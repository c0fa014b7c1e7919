// Exports something else.
// expect: crash missing_symbol

extern "C" void kernal() {}
