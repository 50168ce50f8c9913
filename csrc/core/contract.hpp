// The numeric contract: dot products, norms and scores in float64, eight accumulators, a fixed
// order of additions, no fused multiply-add. The template in contract.cpp is the reference on the
// host; other forms of it (exact_kernels.hpp) are held to its bits by tests. Approximate arithmetic
// lives with the backends. This file and contract.cpp are compiled with -ffp-contract=off and
// without instruction-set flags.
//
//   dot(a, b): accumulator j adds the products k = j (mod 8) in ascending k; then
//              ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
//   norm(a) = sqrt(dot(a, a)),  score(x, y) = dot(x, y) / norm(x),  cosine = score / norm(y)
#pragma once

#include <cstdint>

#include "core/exact_kernels.hpp"
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

// Scores of latents for sources, dispatched once on the dtypes and the instruction set.
class Scorer {
 public:
  Scorer(const Rows& latents, const Rows& sources, const ExactKernels& kernels = exact_portable);

  // score(latent, source) = dot / norm of the latent.
  double score(int64_t latent_row, double latent_norm, int64_t source_row) const {
    const void* row = latent(latent_row);
    double dot;
    dots_(&row, 1, source(source_row), latents_.mean, latents_.dim, &dot);
    return dot / latent_norm;
  }
  // Dot products of rows that latent() named, several at a time to hide latency.
  void dots(const void* const* rows, int64_t count, int64_t source_row, double* out) const {
    dots_(rows, count, source(source_row), latents_.mean, latents_.dim, out);
  }
  const void* latent(int64_t row) const {
    return static_cast<const char*>(latents_.data) + row * latent_bytes_;
  }
  void prefetch(int64_t latent_row) const;

  const Rows& latents() const { return latents_; }
  const Rows& sources() const { return sources_; }
  const ExactKernels& kernels() const { return kernels_; }
  // True if products of rows are exact in float64 (both float32 and not centred).
  bool exact_products() const;

 private:
  const void* source(int64_t row) const {
    return static_cast<const char*>(sources_.data) + row * source_bytes_;
  }

  Rows latents_;
  Rows sources_;
  const ExactKernels& kernels_;
  DotsFn dots_;
  int64_t latent_bytes_, source_bytes_;  // of a row
};

}  // namespace gtn
