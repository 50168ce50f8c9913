// AVX-512 VNNI scan kernel: 24 accumulators hold 6 sources x 64 latents; latents are read once a
// step, source codes are broadcast from memory. Nothing but the hits leaves the registers.
#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

struct Int8 {
  static inline __m512i step(__m512i sum, __m512i latents, __m512i source) {
    return _mm512_dpbusd_epi32(sum, latents, source);
  }
};
struct Int16 {
  static inline __m512i step(__m512i sum, __m512i latents, __m512i source) {
    return _mm512_dpwssd_epi32(sum, latents, source);
  }
};

// Appends the lanes of one vector that reach the threshold.
inline void append(ScanTile* t, int r, __m512i sums, __m512i threshold, int32_t position) {
  const __mmask16 mask = _mm512_cmpge_epi32_mask(sums, threshold);
  if (!mask) return;
  const __m512i lanes = _mm512_add_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
      _mm512_set1_epi32(position));
  // Compressed in registers: compressing straight to memory is slow on some processors.
  _mm512_storeu_si512(t->hit_sums[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, sums));
  _mm512_storeu_si512(t->hit_positions[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, lanes));
  t->hits[r] += __builtin_popcount(mask);
}

template <class Product>
int64_t scan(ScanTile* t) {
  const int32_t steps = t->steps;
  const int64_t panel_bytes = static_cast<int64_t>(steps) * 256;
  const int32_t* const sources = static_cast<const int32_t*>(t->sources);
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    const char* x = static_cast<const char*>(t->panels) + p * panel_bytes;
    const int32_t* y = sources;
    __m512i sum[kTileSources][4];
#pragma GCC unroll 6
    for (int r = 0; r < kTileSources; ++r) {
      const __m512i first = _mm512_set1_epi32(t->start[r]);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[r][v] = first;
    }
    for (int32_t s = 0; s < steps; ++s, x += 256, ++y) {
      const __m512i x0 = _mm512_loadu_si512(x);
      const __m512i x1 = _mm512_loadu_si512(x + 64);
      const __m512i x2 = _mm512_loadu_si512(x + 128);
      const __m512i x3 = _mm512_loadu_si512(x + 192);
#pragma GCC unroll 6
      for (int r = 0; r < kTileSources; ++r) {
        const __m512i code = _mm512_set1_epi32(y[r * steps]);
        sum[r][0] = Product::step(sum[r][0], x0, code);
        sum[r][1] = Product::step(sum[r][1], x1, code);
        sum[r][2] = Product::step(sum[r][2], x2, code);
        sum[r][3] = Product::step(sum[r][3], x3, code);
      }
    }
    unsigned any = 0;
#pragma GCC unroll 6
    for (int r = 0; r < kTileSources; ++r) {
      const __m512i top = _mm512_max_epi32(_mm512_max_epi32(sum[r][0], sum[r][1]),
                                           _mm512_max_epi32(sum[r][2], sum[r][3]));
      any |= static_cast<unsigned>(_mm512_cmpge_epi32_mask(top, _mm512_set1_epi32(t->threshold[r])) != 0)
             << r;
    }
    if (__builtin_expect(any != 0, 0)) {
      bool full = false;
#pragma GCC unroll 6
      for (int r = 0; r < kTileSources; ++r) {
        if (!(any >> r & 1)) continue;
        const __m512i threshold = _mm512_set1_epi32(t->threshold[r]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          append(t, r, sum[r][v], threshold, static_cast<int32_t>(p * kPanelLatents + v * 16));
        }
        full = full || t->hits[r] > t->limit[r];
      }
      if (full) return p + 1;
    }
  }
  return t->panel_end;
}

bool supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

extern const Kernel kernel_avx512_vnni;
const Kernel kernel_avx512_vnni = {"avx512_vnni", supported, scan<Int8>, scan<Int16>, 127};

}  // namespace gtn
