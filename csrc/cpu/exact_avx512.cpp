// Exact kernels for AVX-512: the contract's eight accumulators are the lanes of one register (dot
// products of rows), or eight registers with a latent in each lane (panels). No fused multiply-add:
// this file is compiled with -ffp-contract=off.
#include <immintrin.h>

#include "core/exact_kernels.hpp"

namespace gtn {
namespace {

constexpr int kSources = 3;      // sources a tile: 24 sums, in 32 registers
constexpr int kRows = 4;         // rows a pass: their chains of additions hide each other's latency
constexpr int64_t kAhead = 512;  // bytes of a row to ask for; the hardware follows

// The forms with a mask of all lanes: GCC 12 warns of its own header for the plain ones.
constexpr __mmask8 kAll = 0xff;
inline __m512d widen(__m256 v) {
  return _mm512_maskz_cvtps_pd(kAll, v);
}
template <int Half>
inline __m256d half(__m512d v) {
  return _mm512_maskz_extractf64x4_pd(kAll, v, Half);
}

inline __m512d load(const double* p) {
  return _mm512_loadu_pd(p);
}
inline __m512d load(const float* p) {
  return widen(_mm256_loadu_ps(p));
}
// The lanes of the mask; the others are zero and leave their accumulators as they are.
inline __m512d load(const double* p, __mmask8 lanes) {
  return _mm512_maskz_loadu_pd(lanes, p);
}
inline __m512d load(const float* p, __mmask8 lanes) {
  return widen(_mm256_maskz_loadu_ps(lanes, p));
}

// ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
inline double tree(__m512d s) {
  const __m256d four = _mm256_add_pd(half<0>(s), half<1>(s));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

template <int R, bool Centred, class X, class Y>
inline void dots_of(const void* const* rows, const Y* source, const double* mean, int64_t dim,
                    double* out) {
  const X* x[R];
  __m512d sum[R];
  for (int r = 0; r < R; ++r) {
    x[r] = static_cast<const X*>(rows[r]);
    sum[r] = _mm512_setzero_pd();
  }
  int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    const __m512d y = load(source + k);
    for (int r = 0; r < R; ++r) {
      __m512d v = load(x[r] + k);
      if constexpr (Centred) v = _mm512_sub_pd(v, load(mean + k));
      sum[r] = _mm512_add_pd(sum[r], _mm512_mul_pd(v, y));
    }
  }
  if (k < dim) {
    const __mmask8 lanes = static_cast<__mmask8>((1 << (dim - k)) - 1);
    const __m512d y = load(source + k, lanes);
    for (int r = 0; r < R; ++r) {
      __m512d v = load(x[r] + k, lanes);
      if constexpr (Centred) v = _mm512_sub_pd(v, load(mean + k, lanes));
      sum[r] = _mm512_add_pd(sum[r], _mm512_mul_pd(v, y));
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

struct Sums {
  __m512d s[8];
};

inline __m512d tree(const Sums& v) {
  return _mm512_add_pd(_mm512_add_pd(_mm512_add_pd(v.s[0], v.s[4]), _mm512_add_pd(v.s[2], v.s[6])),
                       _mm512_add_pd(_mm512_add_pd(v.s[1], v.s[5]), _mm512_add_pd(v.s[3], v.s[7])));
}

// Appends the lanes whose score reaches the threshold. Out of line, so that the sums of the hot
// loop stay in registers.
__attribute__((noinline)) bool append(ExactTile* t, int r, __m512d dot, int64_t panel) {
  const __m512d score = _mm512_div_pd(dot, _mm512_loadu_pd(t->norms + panel * kExactLanes));
  const __mmask8 hit = _mm512_cmp_pd_mask(score, _mm512_set1_pd(t->threshold[r]), _CMP_GE_OQ);
  if (!hit) return false;
  double lanes[kExactLanes];
  _mm512_storeu_pd(lanes, score);
  for (unsigned m = hit; m; m &= m - 1) {
    const int lane = __builtin_ctz(m);
    t->hit_scores[r][t->hits[r]] = lanes[lane];
    t->hit_positions[r][t->hits[r]] = static_cast<int32_t>(panel * kExactLanes + lane);
    ++t->hits[r];
  }
  return t->hits[r] > t->limit[r];
}

// The empty asm keeps v in a register: GCC would load it anew for each source.
#define GTN_STEP(j)                                                          \
  {                                                                          \
    __m512d v = _mm512_loadu_pd(x + (j) * kExactLanes);                      \
    asm("" : "+v"(v));                                                       \
    a.s[j] = _mm512_add_pd(a.s[j], _mm512_mul_pd(v, _mm512_set1_pd(y0[j]))); \
    b.s[j] = _mm512_add_pd(b.s[j], _mm512_mul_pd(v, _mm512_set1_pd(y1[j]))); \
    c.s[j] = _mm512_add_pd(c.s[j], _mm512_mul_pd(v, _mm512_set1_pd(y2[j]))); \
  }

int64_t scan(ExactTile* t) {
  const int64_t dim = t->dim;
  // A product with the inverse is within three roundings of the quotient: most lanes are spared the
  // division. Quotients below the normal range differ by less than 2^-1022.
  __m512d least[kSources];
  for (int r = 0; r < kSources; ++r) {
    const double threshold = t->threshold[r];
    least[r] = _mm512_set1_pd(threshold -
                              ((threshold < 0.0 ? -threshold : threshold) * 0x1p-50 + 0x1p-1021));
  }
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    const double* x = t->panels + p * dim * kExactLanes;
    const double *y0 = t->sources, *y1 = y0 + dim, *y2 = y1 + dim;
    const __m512d zero = _mm512_setzero_pd();
    Sums a = {{zero, zero, zero, zero, zero, zero, zero, zero}}, b = a, c = a;
    int64_t k = 0;
    for (; k + 8 <= dim; k += 8, x += 8 * kExactLanes, y0 += 8, y1 += 8, y2 += 8) {
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
    const __m512d inverse = _mm512_loadu_pd(t->inverses + p * kExactLanes);
    const __m512d dot[kSources] = {tree(a), tree(b), tree(c)};
    const auto near = [&](int r) {
      return _mm512_cmp_pd_mask(_mm512_mul_pd(dot[r], inverse), least[r], _CMP_GE_OQ);
    };
    const __mmask8 near0 = near(0), near1 = near(1), near2 = near(2);
    if (__builtin_expect((near0 | near1 | near2) != 0, 0)) {
      bool full = false;
      if (near0) full |= append(t, 0, dot[0], p);
      if (near1) full |= append(t, 1, dot[1], p);
      if (near2) full |= append(t, 2, dot[2], p);
      if (full) return p + 1;
    }
  }
  return t->panel_end;
}

}  // namespace

extern const ExactKernels exact_avx512;
const ExactKernels exact_avx512 = {
    "avx512",
    {{dots<float, float>, dots<float, double>}, {dots<double, float>, dots<double, double>}},
    scan,
    kSources};

}  // namespace gtn
