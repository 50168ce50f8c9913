// The AMX-int8 kernel's own source, compiled with emulated/immintrin.h in place of the compiler's.
#include "sets_to_test.hpp"

#define kernel_amx_int8 emulated_amx_int8
#include "cpu/kernel_amx_int8.cpp"

int emulated_faults() {
  return emulated::faults;
}
