// The AVX-VNNI kernel's own source, compiled with emulated/immintrin.h in place of the compiler's.
#undef __AVXVNNI__
#define kernel_avx_vnni emulated_avx_vnni
#include "cpu/kernel_avx_vnni.cpp"
