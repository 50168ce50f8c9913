// Exact kernels for AVX2: the contract's eight accumulators are the lanes of two registers (dot
// products of rows), or eight registers with a latent in each lane (panels). No fused multiply-add:
// this file is compiled with -ffp-contract=off.
#include <immintrin.h>

#include "core/exact_kernels.hpp"

namespace gtn {
namespace {

constexpr int kRows = 4;         // rows a pass: their chains of additions hide each other's latency
constexpr int64_t kAhead = 512;  // bytes of a row to ask for; the hardware follows

struct Eight {
  __m256d low, high;
};

inline Eight load(const double* p) {
  return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
inline Eight load(const float* p) {
  return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
// The first `count` lanes; the others are zero and leave their accumulators as they are.
template <class T>
inline Eight load(const T* p, int64_t count) {
  T lanes[8] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}
inline Eight subtract(Eight a, Eight b) {
  return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
}
inline Eight add_product(Eight sum, Eight a, Eight b) {
  return {_mm256_add_pd(sum.low, _mm256_mul_pd(a.low, b.low)),
          _mm256_add_pd(sum.high, _mm256_mul_pd(a.high, b.high))};
}

// ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
inline double tree(Eight s) {
  const __m256d four = _mm256_add_pd(s.low, s.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

template <int R, bool Centred, class X, class Y>
inline void dots_of(const void* const* rows, const Y* source, const double* mean, int64_t dim,
                    double* out) {
  const X* x[R];
  Eight sum[R];
  for (int r = 0; r < R; ++r) {
    x[r] = static_cast<const X*>(rows[r]);
    sum[r] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  }
  int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    const Eight y = load(source + k);
    for (int r = 0; r < R; ++r) {
      Eight v = load(x[r] + k);
      if constexpr (Centred) v = subtract(v, load(mean + k));
      sum[r] = add_product(sum[r], v, y);
    }
  }
  if (k < dim) {
    const Eight y = load(source + k, dim - k);
    for (int r = 0; r < R; ++r) {
      Eight v = load(x[r] + k, dim - k);
      if constexpr (Centred) v = subtract(v, load(mean + k, dim - k));
      sum[r] = add_product(sum[r], v, y);
    }
  }
  for (int r = 0; r < R; ++r) out[r] = tree(sum[r]);
}

template <bool Centred, class X, class Y>
void dots_rows(const void* const* rows, int64_t count, const Y* source, const double* mean,
               int64_t dim, double* out) {
  const int64_t ahead = dim * static_cast<int64_t>(sizeof(X)) < kAhead
                            ? dim * static_cast<int64_t>(sizeof(X))
                            : kAhead;
  int64_t i = 0;
  for (; i + kRows <= count; i += kRows) {
    for (int64_t next = i + kRows; next < i + 2 * kRows && next < count; ++next) {
      const char* p = static_cast<const char*>(rows[next]);
      for (int64_t at = 0; at < ahead; at += 64) __builtin_prefetch(p + at);
    }
    dots_of<kRows, Centred, X>(rows + i, source, mean, dim, out + i);
  }
  for (; i < count; ++i) dots_of<1, Centred, X>(rows + i, source, mean, dim, out + i);
}

template <class X, class Y>
void dots(const void* const* rows, int64_t count, const void* source, const double* mean,
          int64_t dim, double* out) {
  const Y* y = static_cast<const Y*>(source);
  if (mean) {
    dots_rows<true, X>(rows, count, y, mean, dim, out);
  } else {
    dots_rows<false, X>(rows, count, y, mean, dim, out);
  }
}

// Appends the lanes whose score reaches the threshold. Out of line, so that the sums of the hot
// loop stay in registers.
__attribute__((noinline)) bool append(ExactTile* t, __m256d dot, int64_t position) {
  const __m256d score = _mm256_div_pd(dot, _mm256_loadu_pd(t->norms + position));
  const int hit =
      _mm256_movemask_pd(_mm256_cmp_pd(score, _mm256_set1_pd(t->threshold[0]), _CMP_GE_OQ));
  if (!hit) return false;
  double lanes[4];
  _mm256_storeu_pd(lanes, score);
  for (int m = hit; m; m &= m - 1) {
    const int lane = __builtin_ctz(static_cast<unsigned>(m));
    t->hit_scores[0][t->hits[0]] = lanes[lane];
    t->hit_positions[0][t->hits[0]] = static_cast<int32_t>(position + lane);
    ++t->hits[0];
  }
  return t->hits[0] > t->limit[0];
}

#define GTN_STEP(j)     \
  s##j = _mm256_add_pd( \
      s##j, _mm256_mul_pd(_mm256_set1_pd(y[j]), _mm256_loadu_pd(x + (j) * kExactLanes)));

int64_t scan(ExactTile* t) {
  const int64_t dim = t->dim;
  // A product with the inverse is within three roundings of the quotient: most lanes are spared the
  // division. Quotients below the normal range differ by less than 2^-1022.
  const double threshold = t->threshold[0];
  const __m256d least = _mm256_set1_pd(
      threshold - ((threshold < 0.0 ? -threshold : threshold) * 0x1p-50 + 0x1p-1021));
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    bool full = false;
    for (int half = 0; half < kExactLanes; half += 4) {
      const double* x = t->panels + p * dim * kExactLanes + half;
      const double* y = t->sources;
      __m256d s0 = _mm256_setzero_pd(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0,
              s7 = s0;
      int64_t k = 0;
      for (; k + 8 <= dim; k += 8, x += 8 * kExactLanes, y += 8) {
        GTN_STEP(0)
        GTN_STEP(1)
        GTN_STEP(2)
        GTN_STEP(3)
        GTN_STEP(4)
        GTN_STEP(5)
        GTN_STEP(6)
        GTN_STEP(7)
      }
      switch (dim - k) {
        case 7:
          GTN_STEP(6)
          [[fallthrough]];
        case 6:
          GTN_STEP(5)
          [[fallthrough]];
        case 5:
          GTN_STEP(4)
          [[fallthrough]];
        case 4:
          GTN_STEP(3)
          [[fallthrough]];
        case 3:
          GTN_STEP(2)
          [[fallthrough]];
        case 2:
          GTN_STEP(1)
          [[fallthrough]];
        case 1:
          GTN_STEP(0)
          break;
        default:
          break;
      }
      const __m256d dot =
          _mm256_add_pd(_mm256_add_pd(_mm256_add_pd(s0, s4), _mm256_add_pd(s2, s6)),
                        _mm256_add_pd(_mm256_add_pd(s1, s5), _mm256_add_pd(s3, s7)));
      const int64_t position = p * kExactLanes + half;
      const __m256d near = _mm256_cmp_pd(
          _mm256_mul_pd(dot, _mm256_loadu_pd(t->inverses + position)), least, _CMP_GE_OQ);
      if (__builtin_expect(_mm256_movemask_pd(near) != 0, 0)) full |= append(t, dot, position);
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

}  // namespace

extern const ExactKernels exact_avx2;
const ExactKernels exact_avx2 = {
    "avx2",
    {{dots<float, float>, dots<float, double>}, {dots<double, float>, dots<double, double>}},
    scan,
    1};

}  // namespace gtn
