// AVX2 scan kernel: 12 accumulators hold 6 sources x 16 latents. The int8 form multiplies pairs with
// vpmaddubsw, whose int16 sums would saturate with full source codes: they are limited to 63
// (255 * 63 * 2 < 2^15).
#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

struct Int8 {
  static inline __m256i step(__m256i sum, __m256i latents, __m256i source) {
    const __m256i pairs = _mm256_maddubs_epi16(latents, source);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};
struct Int16 {
  static inline __m256i step(__m256i sum, __m256i latents, __m256i source) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(latents, source));
  }
};

inline int reached(__m256i sums, __m256i below) {
  return _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sums, below)));
}

// Appends the lanes of one vector whose bit is set.
inline void append(ScanTile* t, int r, __m256i sums, int mask, int32_t position) {
  if (!mask) return;
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sums);
  for (; mask; mask &= mask - 1) {
    const int lane = __builtin_ctz(static_cast<unsigned>(mask));
    t->hit_sums[r][t->hits[r]] = lanes[lane];
    t->hit_positions[r][t->hits[r]] = position + lane;
    ++t->hits[r];
  }
}

template <class Product>
int64_t scan(ScanTile* t) {
  const int32_t steps = t->steps;
  const int64_t panel_bytes = static_cast<int64_t>(steps) * 256;
  const int32_t* const sources = static_cast<const int32_t*>(t->sources);
  // sums >= threshold as sums > threshold - 1: thresholds are above the least int32.
  int32_t below[kTileSources];
  for (int r = 0; r < kTileSources; ++r) below[r] = t->threshold[r] - 1;
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    bool full = false;
    for (int part = 0; part < 4; ++part) {
      const char* x = static_cast<const char*>(t->panels) + p * panel_bytes + part * 64;
      const int32_t* y = sources;
      __m256i sum[kTileSources][2];
#pragma GCC unroll 6
      for (int r = 0; r < kTileSources; ++r) {
        sum[r][0] = sum[r][1] = _mm256_set1_epi32(t->start[r]);
      }
      for (int32_t s = 0; s < steps; ++s, x += 256, ++y) {
        const __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
        const __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 32));
#pragma GCC unroll 6
        for (int r = 0; r < kTileSources; ++r) {
          const __m256i code = _mm256_set1_epi32(y[r * steps]);
          sum[r][0] = Product::step(sum[r][0], x0, code);
          sum[r][1] = Product::step(sum[r][1], x1, code);
        }
      }
      int masks[kTileSources];
      int any = 0;
#pragma GCC unroll 6
      for (int r = 0; r < kTileSources; ++r) {
        const __m256i bar = _mm256_set1_epi32(below[r]);
        masks[r] = reached(sum[r][0], bar) | reached(sum[r][1], bar) << 8;
        any |= masks[r];
      }
      if (__builtin_expect(any != 0, 0)) {
        const int32_t position = static_cast<int32_t>(p * kPanelLatents + part * 16);
#pragma GCC unroll 6
        for (int r = 0; r < kTileSources; ++r) {
          append(t, r, sum[r][0], masks[r] & 255, position);
          append(t, r, sum[r][1], masks[r] >> 8, position + 8);
          full = full || t->hits[r] > t->limit[r];
        }
      }
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

bool supported() { return __builtin_cpu_supports("avx2"); }

}  // namespace

extern const Kernel kernel_avx2;
const Kernel kernel_avx2 = {"avx2", supported, scan<Int8>, scan<Int16>, 63};

}  // namespace gtn
