// AVX2 scan kernel: 12 accumulators hold 6 sources x 16 latents. The int8 form multiplies pairs
// with vpmaddubsw, whose int16 sums would saturate with full source codes: they are limited to 63
// (255 * 63 * 2 < 2^15).
#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 6;

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

inline int reached(__m256i sums, __m256i below) {
  return _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sums, below)));
}

// Appends the sums that reach their source's threshold. Out of line and fed from memory, so that
// the sums of the hot loop stay in registers.
__attribute__((noinline)) bool append(ScanTile* t, const int32_t* sums, int32_t position) {
  bool full = false;
  for (int r = 0; r < kTileSources; ++r, sums += 16) {
    const __m256i below = _mm256_set1_epi32(t->threshold[r] - 1);
    const __m256i* v = reinterpret_cast<const __m256i*>(sums);
    int mask = reached(_mm256_load_si256(v), below) | reached(_mm256_load_si256(v + 1), below) << 8;
    for (; mask; mask &= mask - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(mask));
      t->hit_sums[r][t->hits[r]] = sums[lane];
      t->hit_positions[r][t->hits[r]] = position + lane;
      ++t->hits[r];
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
    bool full = false;
    for (int part = 0; part < 4; ++part) {
      const char* x = static_cast<const char*>(t->panels) + p * panel_bytes + part * 64;
      const int32_t* y = sources;
#define GTN_START(r) __m256i a##r = _mm256_set1_epi32(t->start[r]), b##r = a##r;
      GTN_SOURCES(GTN_START)
      for (int32_t s = 0; s < steps; ++s, x += 256, ++y) {
        const __m256i x0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
        const __m256i x1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 32));
#define GTN_STEP(r)                                              \
  {                                                              \
    const __m256i code = _mm256_set1_epi32(y[r * source_steps]); \
    Product::step(a##r, x0, code);                               \
    Product::step(b##r, x1, code);                               \
  }
        GTN_SOURCES(GTN_STEP)
      }
      // sums >= threshold as sums > threshold - 1: thresholds are above the least int32.
      int any = 0;
#define GTN_REACHED(r)                                            \
  {                                                               \
    const __m256i below = _mm256_set1_epi32(t->threshold[r] - 1); \
    any |= reached(a##r, below) | reached(b##r, below);           \
  }
      GTN_SOURCES(GTN_REACHED)
      if (__builtin_expect(any != 0, 0)) {
        alignas(32) int32_t sums[kTileSources * 16];
#define GTN_STORE(r)                                                   \
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums + r * 16), a##r); \
  _mm256_store_si256(reinterpret_cast<__m256i*>(sums + r * 16 + 8), b##r);
        GTN_SOURCES(GTN_STORE)
        full |= append(t, sums, static_cast<int32_t>(p * kPanelLatents + part * 16));
      }
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

bool supported() {
  return __builtin_cpu_supports("avx2");
}

}  // namespace

extern const Kernel kernel_avx2;
const Kernel kernel_avx2 = {
    "avx2", supported, {scan<Int8>, kTileSources, 1}, {scan<Int16>, kTileSources, 1}, 63};

}  // namespace gtn
