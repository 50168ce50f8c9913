// The numeric contract (the only place on the host where exact arithmetic is done): dot products,
// norms and scores in float64, eight accumulators, a fixed order of additions, no fused
// multiply-add. Approximate arithmetic lives with the backends. This file and contract.cpp are
// compiled with -ffp-contract=off and without instruction-set flags.
//
//   dot(a, b): accumulator j adds the products k = j (mod 8) in ascending k; then
//              ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
//   norm(a) = sqrt(dot(a, a)),  score(x, y) = dot(x, y) / norm(x),  cosine = score / norm(y)
#pragma once

#include <cstdint>

#include "core/rows.hpp"

namespace gtn {

// Relative rounding error of a computed score or norm, in units of |x| |y|: each of the dim
// products and additions rounds once (2^-53), and a few operations follow. Doubled for safety.
inline double rounding_slack(int64_t dim) {
  return (static_cast<double>(dim) + 64.0) * 0x1p-52;
}

// dot(row, row) of one row.
double squared_norm(const Rows& rows, int64_t row);

// Writes the row as float64, centred if rows.mean is set. out: [dim]
void widen_row(const Rows& rows, int64_t row, double* out);

// score() of one-dimensional rows: all accumulators but the first stay zero.
inline double score_1d(double x, double norm_x, double y) {
  return x * y / norm_x;
}

// Dot products between latents and sources, dispatched once on the two dtypes.
class Scorer {
 public:
  Scorer(const Rows& latents, const Rows& sources);

  // score(latent, source) = dot / norm of the latent.
  double score(int64_t latent_row, double latent_norm, int64_t source_row) const {
    return dot_(latents_, latent_row, sources_, source_row) / latent_norm;
  }
  void prefetch(int64_t latent_row) const;

  const Rows& latents() const { return latents_; }
  const Rows& sources() const { return sources_; }
  // True if products of rows are exact in float64 (both float32 and not centred).
  bool exact_products() const;

 private:
  using DotFn = double (*)(const Rows&, int64_t, const Rows&, int64_t);
  Rows latents_;
  Rows sources_;
  DotFn dot_;
};

}  // namespace gtn
