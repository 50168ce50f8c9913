// contract_dot.hpp holds the order of operations; everything here calls it.
#include "core/contract.hpp"

#include "core/contract_dot.hpp"

namespace gtn {
namespace {

template <class T, bool Centred>
Row<T, Centred> row_of(const Rows& rows, int64_t row) {
  return {static_cast<const T*>(rows.data) + row * rows.dim, rows.mean};
}

template <class X, bool Centred, class Y>
void dots_of(const void* const* rows, int64_t count, const void* source, const double* mean,
             int64_t dim, double* out) {
  const Row<Y, false> y{static_cast<const Y*>(source), nullptr};
  for (int64_t i = 0; i < count; ++i) {
    out[i] = dot(Row<X, Centred>{static_cast<const X*>(rows[i]), mean}, y, dim);
  }
}

template <class X, class Y>
void dots_portable(const void* const* rows, int64_t count, const void* source, const double* mean,
                   int64_t dim, double* out) {
  (mean ? dots_of<X, true, Y> : dots_of<X, false, Y>)(rows, count, source, mean, dim, out);
}

int64_t scan_portable(ExactTile* t) {
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    const double* panel = t->panels + p * t->dim * kExactLanes;
    // The accumulators of all lanes side by side, so that compilers vectorise over the lanes.
    double s[8][kExactLanes] = {};
    for (int64_t k = 0; k < t->dim; ++k) {
      const double y = t->sources[k];
      double* sum = s[k % 8];
      for (int i = 0; i < kExactLanes; ++i) sum[i] += panel[k * kExactLanes + i] * y;
    }
    for (int i = 0; i < kExactLanes; ++i) {
      const double dot =
          ((s[0][i] + s[4][i]) + (s[2][i] + s[6][i])) + ((s[1][i] + s[5][i]) + (s[3][i] + s[7][i]));
      const double score = dot / t->norms[p * kExactLanes + i];
      if (!(score >= t->threshold[0])) continue;
      t->hit_scores[0][t->hits[0]] = score;
      t->hit_positions[0][t->hits[0]] = static_cast<int32_t>(p * kExactLanes + i);
      ++t->hits[0];
    }
    if (t->hits[0] > t->limit[0]) return p + 1;
  }
  return t->panel_end;
}

// Calls f with a Row of the right type.
template <class F>
auto with_row(const Rows& rows, int64_t row, F f) {
  if (rows.dtype == DType::f32) {
    return rows.mean ? f(row_of<float, true>(rows, row)) : f(row_of<float, false>(rows, row));
  }
  return rows.mean ? f(row_of<double, true>(rows, row)) : f(row_of<double, false>(rows, row));
}

}  // namespace

double squared_norm(const Rows& rows, int64_t row) {
  return with_row(rows, row, [&](auto r) { return dot(r, r, rows.dim); });
}

void widen_row(const Rows& rows, int64_t row, double* out) {
  with_row(rows, row, [&](auto r) {
    for (int64_t k = 0; k < rows.dim; ++k) out[k] = r[k];
  });
}

const ExactKernels exact_portable = {
    "portable",
    {{dots_portable<float, float>, dots_portable<float, double>},
     {dots_portable<double, float>, dots_portable<double, double>}},
    scan_portable,
    1};

Scorer::Scorer(const Rows& latents, const Rows& sources, const ExactKernels& kernels)
    : latents_(latents),
      sources_(sources),
      kernels_(kernels),
      dots_(kernels.dots[latents.dtype == DType::f64][sources.dtype == DType::f64]),
      latent_bytes_(latents.dim * (latents.dtype == DType::f32 ? 4 : 8)),
      source_bytes_(sources.dim * (sources.dtype == DType::f32 ? 4 : 8)) {}

void Scorer::prefetch(int64_t latent_row) const {
  const char* p = static_cast<const char*>(latent(latent_row));
  // The hardware follows once the first lines of a row are asked for.
  for (int64_t at = 0; at < latent_bytes_ && at < 512; at += 64) __builtin_prefetch(p + at);
}

bool Scorer::exact_products() const {
  return latents_.dtype == DType::f32 && sources_.dtype == DType::f32 && latents_.mean == nullptr;
}

}  // namespace gtn
