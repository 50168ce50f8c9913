// The loops of a walk through a tree in AVX-512: a group of boxes is one register.
#include <immintrin.h>

#include "cpu/tree_kernels.hpp"

namespace gtn {
namespace {

uint32_t near_boxes(const float* boxes, const float* point, int64_t dim, float limit,
                    float* squared) {
  __m512 sum = _mm512_setzero_ps();
  const __mmask16 all = 0xffff;
  for (int64_t k = 0; k < dim; ++k, boxes += 2 * kGroupBoxes) {
    const __m512 p = _mm512_set1_ps(point[k]);
    const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(boxes), p);
    const __m512 above = _mm512_sub_ps(p, _mm512_loadu_ps(boxes + kGroupBoxes));
    // Masked forms, as GCC's header makes the plain ones warn of an uninitialised operand.
    const __m512 gap =
        _mm512_maskz_max_ps(all, _mm512_maskz_max_ps(all, below, above), _mm512_setzero_ps());
    sum = _mm512_fmadd_ps(gap, gap, sum);
  }
  _mm512_storeu_ps(squared, sum);
  return _mm512_cmp_ps_mask(sum, _mm512_set1_ps(limit), _CMP_LE_OQ);
}

template <bool Priced>
inline uint64_t reaching(__m512 sum, const float* prices, __m512 threshold) {
  if constexpr (Priced) sum = _mm512_sub_ps(sum, _mm512_loadu_ps(prices));
  return _mm512_cmp_ps_mask(sum, threshold, _CMP_GE_OQ);
}

template <bool Priced>
int32_t hits_of(const float* offsets, const float* prices, const float* point, int64_t dim,
                int32_t live, float least, float* products, int32_t* places) {
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  for (int64_t k = 0; k < dim; ++k, offsets += kLeafLatents) {
    const __m512 p = _mm512_set1_ps(point[k]);
    a = _mm512_fmadd_ps(_mm512_loadu_ps(offsets), p, a);
    b = _mm512_fmadd_ps(_mm512_loadu_ps(offsets + 16), p, b);
    c = _mm512_fmadd_ps(_mm512_loadu_ps(offsets + 32), p, c);
    d = _mm512_fmadd_ps(_mm512_loadu_ps(offsets + 48), p, d);
  }
  const __m512 threshold = _mm512_set1_ps(least);
  uint64_t mask = reaching<Priced>(a, prices, threshold) |
                  reaching<Priced>(b, prices + 16, threshold) << 16 |
                  reaching<Priced>(c, prices + 32, threshold) << 32 |
                  reaching<Priced>(d, prices + 48, threshold) << 48;
  mask &= ~uint64_t{0} >> (kLeafLatents - live);
  if (!mask) return 0;
  alignas(64) float sums[kLeafLatents];
  _mm512_store_ps(sums, a);
  _mm512_store_ps(sums + 16, b);
  _mm512_store_ps(sums + 32, c);
  _mm512_store_ps(sums + 48, d);
  int32_t hits = 0;
  for (; mask; mask &= mask - 1) {
    const int lane = __builtin_ctzll(mask);
    products[hits] = sums[lane];
    places[hits++] = lane;
  }
  return hits;
}

int32_t leaf_hits(const float* offsets, const float* point, int64_t dim, int32_t live, float least,
                  float* products, int32_t* places) {
  return hits_of<false>(offsets, offsets, point, dim, live, least, products, places);
}

uint32_t far_boxes(const float* group, const float* point, int64_t dim, float least,
                   float* values) {
  const float* tail = group + 3 * dim * kGroupBoxes;
  const __m512 half_bend = _mm512_mul_ps(_mm512_set1_ps(0.5f), _mm512_loadu_ps(tail));
  const __m512 reciprocal = _mm512_loadu_ps(tail + kGroupBoxes);
  const __mmask16 all = 0xffff;
  __m512 sum = _mm512_setzero_ps();
  for (int64_t k = 0; k < dim; ++k, group += 3 * kGroupBoxes) {
    const __m512 p = _mm512_set1_ps(point[k]);
    const __m512 off = _mm512_sub_ps(p, _mm512_loadu_ps(group + 2 * kGroupBoxes));
    const __m512 d = _mm512_abs_ps(off);
    const __m512 t = _mm512_maskz_min_ps(all, _mm512_mul_ps(d, reciprocal),
                                         _mm512_loadu_ps(group + kGroupBoxes));
    sum = _mm512_fmadd_ps(p, _mm512_loadu_ps(group), sum);
    sum = _mm512_fmadd_ps(t, _mm512_fnmadd_ps(half_bend, t, d), sum);
  }
  sum = _mm512_sub_ps(sum, _mm512_loadu_ps(tail + 2 * kGroupBoxes));
  _mm512_storeu_ps(values, sum);
  return _mm512_cmp_ps_mask(sum, _mm512_set1_ps(least), _CMP_GE_OQ);
}

int32_t priced_hits(const float* offsets, const float* prices, const float* point, int64_t dim,
                    int32_t live, float least, float* products, int32_t* places) {
  return hits_of<true>(offsets, prices, point, dim, live, least, products, places);
}

}  // namespace

extern const TreeKernel tree_kernel_avx512;
const TreeKernel tree_kernel_avx512 = {near_boxes, leaf_hits, far_boxes, priced_hits, 32.0, 300.0};

}  // namespace gtn
