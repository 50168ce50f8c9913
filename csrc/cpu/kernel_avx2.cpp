// AVX2 scan kernel. The int8 form multiplies pairs with vpmaddubsw, whose int16 sums would saturate
// with full source codes: they are limited to 63 (255 * 63 * 2 < 2^15).
#include "cpu/scan_256bit.hpp"

namespace gtn {
namespace {

alignas(32) const int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// In assembly because GCC 12 reorders the intrinsics until the sums spill: 12 sums, 2 latents, a
// source code and a product fill the 16 registers exactly.
struct Int8 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    __m256i product;
    asm("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(product)
        : "x"(latents), "x"(source), "m"(*reinterpret_cast<const __m256i*>(kOnes)));
  }
};
struct Int16 {
  static inline void step(__m256i& sum, __m256i latents, __m256i source) {
    __m256i product;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(product)
        : "x"(latents), "x"(source));
  }
};

}  // namespace

extern const Kernel kernel_avx2;
const Kernel kernel_avx2 = {
    "avx2", {scan<Int8>, kTileSources, 1}, {scan<Int16>, kTileSources, 1}, 63};

}  // namespace gtn
