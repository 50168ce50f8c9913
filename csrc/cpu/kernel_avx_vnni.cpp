// AVX-VNNI scan kernel: the dot product instructions of AVX-512 VNNI for processors without 512-bit
// registers (their VEX encoding, 256 bits).
#include "cpu/scan_256bit.hpp"

namespace gtn {
namespace {

#ifdef __AVXVNNI__
// In assembly because GCC 12 copies and spills the sums around the intrinsics.
struct Int8 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(latents), "x"(source));
  }
};
struct Int16 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(latents), "x"(source));
  }
};
#else  // the tests emulate it where it is missing
struct Int8 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    sum = _mm256_dpbusd_avx_epi32(sum, latents, source);
  }
};
struct Int16 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    sum = _mm256_dpwssd_avx_epi32(sum, latents, source);
  }
};
#endif

}  // namespace

extern const Kernel kernel_avx_vnni;
const Kernel kernel_avx_vnni = {
    "avx_vnni", {scan<Int8>, kTileSources, 1}, {scan<Int16>, kTileSources, 1}, 127};

}  // namespace gtn
