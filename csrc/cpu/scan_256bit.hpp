// The loop of the kernels with 256-bit registers: 12 accumulators hold 6 sources x 16 latents. The
// product of a step is the caller's. Included by kernel files only and all in an anonymous
// namespace: each has its own copy, compiled with its own flags, that nobody else can link to.
#pragma once

#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 6;

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
  int32_t below[kTileSources];  // sums >= threshold as > threshold - 1, which is an int32
  for (int r = 0; r < kTileSources; ++r) below[r] = t->threshold[r] - 1;
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
#define GTN_REACHED(r)       \
  const __m256i reached##r = \
      _mm256_cmpgt_epi32(_mm256_max_epi32(a##r, b##r), _mm256_set1_epi32(below[r]));
      GTN_SOURCES(GTN_REACHED)
      const __m256i any = _mm256_or_si256(
          _mm256_or_si256(_mm256_or_si256(reached0, reached1), _mm256_or_si256(reached2, reached3)),
          _mm256_or_si256(reached4, reached5));
      if (__builtin_expect(!_mm256_testz_si256(any, any), 0)) {
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

}  // namespace
}  // namespace gtn
