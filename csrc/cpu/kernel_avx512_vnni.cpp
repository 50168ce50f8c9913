// AVX-512 VNNI scan kernel: 24 accumulators hold 6 sources x 64 latents; latents are read once a
// step, source codes are broadcast from memory. Nothing but the hits leaves the registers.
#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 6;

// In assembly because GCC 12 copies and spills the sums around the intrinsics (three times slower).
struct Int8 {
  static inline void step(__m512i& sum, __m512i latents, __m512i source) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(latents), "v"(source));
  }
};
struct Int16 {
  static inline void step(__m512i& sum, __m512i latents, __m512i source) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(latents), "v"(source));
  }
};

// Elementwise maximum. The masked form, as GCC's header makes the plain one warn of an
// uninitialised operand; both compile to one instruction.
inline __m512i larger(__m512i a, __m512i b) {
  return _mm512_maskz_max_epi32(0xffff, a, b);
}

// Appends the lanes that reach their source's threshold. Out of line and fed from memory, so that
// the sums of the hot loop stay in registers.
__attribute__((noinline)) bool append(ScanTile* t, const int32_t* sums, int32_t position) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  bool full = false;
  for (int r = 0; r < kTileSources; ++r) {
    const __m512i threshold = _mm512_set1_epi32(t->threshold[r]);
    for (int v = 0; v < 4; ++v, sums += 16) {
      const __m512i sum = _mm512_load_si512(sums);
      const __mmask16 mask = _mm512_cmpge_epi32_mask(sum, threshold);
      if (!mask) continue;
      const __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(position + v * 16));
      // Compressed in registers: compressing straight to memory is slow on some processors.
      _mm512_storeu_si512(t->hit_sums[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, sum));
      _mm512_storeu_si512(t->hit_positions[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, at));
      t->hits[r] += __builtin_popcount(mask);
    }
    full = full || t->hits[r] > t->limit[r];
  }
  return full;
}

// Written out per source, not looped over an array: compilers keep named variables in registers.
#define GTN_SOURCES(X) X(0) X(1) X(2) X(3) X(4) X(5)

template <class Product>
int64_t scan(ScanTile* t) {
  const int32_t steps = t->steps, source_steps = t->source_steps;
  const int64_t panel_bytes = static_cast<int64_t>(steps) * 256;
  const int32_t* const sources = static_cast<const int32_t*>(t->sources);
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    const char* x = static_cast<const char*>(t->panels) + p * panel_bytes;
    const int32_t* y = sources;
#define GTN_START(r)                             \
  __m512i a##r = _mm512_set1_epi32(t->start[r]); \
  __m512i b##r = a##r, c##r = a##r, d##r = a##r;
    GTN_SOURCES(GTN_START)
    for (int32_t s = 0; s < steps; ++s, x += 256, ++y) {
      const __m512i x0 = _mm512_loadu_si512(x);
      const __m512i x1 = _mm512_loadu_si512(x + 64);
      const __m512i x2 = _mm512_loadu_si512(x + 128);
      const __m512i x3 = _mm512_loadu_si512(x + 192);
#define GTN_STEP(r)                                              \
  {                                                              \
    const __m512i code = _mm512_set1_epi32(y[r * source_steps]); \
    Product::step(a##r, x0, code);                               \
    Product::step(b##r, x1, code);                               \
    Product::step(c##r, x2, code);                               \
    Product::step(d##r, x3, code);                               \
  }
      GTN_SOURCES(GTN_STEP)
    }
#define GTN_TOP(r)                                                                                 \
  const __mmask16 hit##r = _mm512_cmpge_epi32_mask(larger(larger(a##r, b##r), larger(c##r, d##r)), \
                                                   _mm512_set1_epi32(t->threshold[r]));
    GTN_SOURCES(GTN_TOP)
    if (__builtin_expect((hit0 | hit1 | hit2 | hit3 | hit4 | hit5) != 0, 0)) {
      alignas(64) int32_t sums[kTileSources * kPanelLatents];
#define GTN_STORE(r)                            \
  _mm512_store_si512(sums + r * 64, a##r);      \
  _mm512_store_si512(sums + r * 64 + 16, b##r); \
  _mm512_store_si512(sums + r * 64 + 32, c##r); \
  _mm512_store_si512(sums + r * 64 + 48, d##r);
      GTN_SOURCES(GTN_STORE)
      if (append(t, sums, static_cast<int32_t>(p * kPanelLatents))) return p + 1;
    }
  }
  return t->panel_end;
}

}  // namespace

extern const Kernel kernel_avx512_vnni;
const Kernel kernel_avx512_vnni = {
    "avx512_vnni", {scan<Int8>, kTileSources, 1}, {scan<Int16>, kTileSources, 1}, 127};

}  // namespace gtn
