// The loops of a walk through a tree in AVX2 with fused multiply-adds.
#include <immintrin.h>

#include "cpu/tree_kernels.hpp"

namespace gtn {
namespace {

inline __m256 gap(const float* boxes, __m256 p) {
  const __m256 below = _mm256_sub_ps(_mm256_loadu_ps(boxes), p);
  const __m256 above = _mm256_sub_ps(p, _mm256_loadu_ps(boxes + kGroupBoxes));
  return _mm256_max_ps(_mm256_max_ps(below, above), _mm256_setzero_ps());
}

uint32_t near_boxes(const float* boxes, const float* point, int64_t dim, float limit,
                    float* squared) {
  __m256 a = _mm256_setzero_ps(), b = a;
  for (int64_t k = 0; k < dim; ++k, boxes += 2 * kGroupBoxes) {
    const __m256 p = _mm256_set1_ps(point[k]);
    const __m256 g = gap(boxes, p), h = gap(boxes + 8, p);
    a = _mm256_fmadd_ps(g, g, a);
    b = _mm256_fmadd_ps(h, h, b);
  }
  _mm256_storeu_ps(squared, a);
  _mm256_storeu_ps(squared + 8, b);
  const __m256 top = _mm256_set1_ps(limit);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a, top, _CMP_LE_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(b, top, _CMP_LE_OQ));
  return static_cast<uint32_t>(low | high << 8);
}

template <bool Priced>
int32_t hits_of(const float* offsets, const float* prices, const float* point, int64_t dim,
                int32_t live, float least, float* products, int32_t* places) {
  int32_t hits = 0;
  const __m256 threshold = _mm256_set1_ps(least);
  for (int32_t base = 0; base < live; base += 32) {
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    const float* w = offsets + base;
    for (int64_t k = 0; k < dim; ++k, w += kLeafLatents) {
      const __m256 p = _mm256_set1_ps(point[k]);
      for (int v = 0; v < 4; ++v) sum[v] = _mm256_fmadd_ps(_mm256_loadu_ps(w + v * 8), p, sum[v]);
    }
    for (int v = 0; v < 4; ++v) {
      const int32_t first = base + v * 8;
      __m256 value = sum[v];
      if constexpr (Priced) value = _mm256_sub_ps(value, _mm256_loadu_ps(prices + first));
      unsigned mask =
          static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(value, threshold, _CMP_GE_OQ)));
      if (!mask) continue;
      float lanes[8];
      _mm256_storeu_ps(lanes, sum[v]);
      for (; mask; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        if (first + lane >= live) break;
        products[hits] = lanes[lane];
        places[hits++] = first + lane;
      }
    }
  }
  return hits;
}

int32_t leaf_hits(const float* offsets, const float* point, int64_t dim, int32_t live, float least,
                  float* products, int32_t* places) {
  return hits_of<false>(offsets, nullptr, point, dim, live, least, products, places);
}

struct Bend {
  explicit Bend(const float* lanes)
      : half(_mm256_mul_ps(_mm256_set1_ps(0.5f), _mm256_loadu_ps(lanes))),
        reciprocal(_mm256_loadu_ps(lanes + kGroupBoxes)) {}
  __m256 half, reciprocal;
};

inline __m256 reach(__m256 sum, const float* lanes, __m256 p, const Bend& bend) {
  const __m256 d = _mm256_andnot_ps(_mm256_set1_ps(-0.0f),
                                    _mm256_sub_ps(p, _mm256_loadu_ps(lanes + 2 * kGroupBoxes)));
  const __m256 t =
      _mm256_min_ps(_mm256_mul_ps(d, bend.reciprocal), _mm256_loadu_ps(lanes + kGroupBoxes));
  sum = _mm256_fmadd_ps(p, _mm256_loadu_ps(lanes), sum);
  return _mm256_fmadd_ps(t, _mm256_fnmadd_ps(bend.half, t, d), sum);
}

uint32_t far_boxes(const float* group, const float* point, int64_t dim, float least,
                   float* values) {
  const float* tail = group + 3 * dim * kGroupBoxes;
  const float* rest = tail + 2 * kGroupBoxes;
  const Bend low_bend(tail), high_bend(tail + 8);
  __m256 a = _mm256_setzero_ps(), b = a;
  for (int64_t k = 0; k < dim; ++k, group += 3 * kGroupBoxes) {
    const __m256 p = _mm256_set1_ps(point[k]);
    a = reach(a, group, p, low_bend);
    b = reach(b, group + 8, p, high_bend);
  }
  a = _mm256_sub_ps(a, _mm256_loadu_ps(rest));
  b = _mm256_sub_ps(b, _mm256_loadu_ps(rest + 8));
  _mm256_storeu_ps(values, a);
  _mm256_storeu_ps(values + 8, b);
  const __m256 bar = _mm256_set1_ps(least);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a, bar, _CMP_GE_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(b, bar, _CMP_GE_OQ));
  return static_cast<uint32_t>(low | high << 8);
}

int32_t priced_hits(const float* offsets, const float* prices, const float* point, int64_t dim,
                    int32_t live, float least, float* products, int32_t* places) {
  return hits_of<true>(offsets, prices, point, dim, live, least, products, places);
}

}  // namespace

extern const TreeKernel tree_kernel_avx2;
const TreeKernel tree_kernel_avx2 = {near_boxes, leaf_hits, far_boxes, priced_hits, 16.0, 300.0};

}  // namespace gtn
