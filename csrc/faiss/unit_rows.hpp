// The free latents as rows of float32 for FAISS, with the bounds that make its scores usable.
//
// A latent x is the row w ~ v = x/|x| - c, c the mean direction; a source y is q ~ y/|y|. Taking c
// away adds the same <y/|y|, c> to every score of a source, so that off-centre data loses nothing.
// With u = 2^-24, |w| and |v| <= radius, and any order of additions, fused or not, in float32:
//   |<y/|y|, v> - score(q, w)| <= |y/|y| - q| |v| + |q| |v - w| + dim u / (1 - dim u) |q| |w|
//                              <= radius (dim + 4) u / (1 - (dim + 4) u) + rounding of float64
// Underflow in float32 loses less than the rounding of float64 does elsewhere, even if it is
// flushed to zero.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "faiss/inner_product_index.hpp"

namespace gtn {

class UnitRows {
 public:
  UnitRows(const Scorer& scorer, const FreeLatents& free, Parallel& parallel);

  // [count, dim]; the rows that are not removed, in no particular order.
  FloatRows rows() const { return {rows_.get(), count_, dim_}; }
  int64_t count() const { return count_; }
  LatentId id_at(int64_t position) const { return id_at_[position]; }
  // Takes out ids, filling each hole with the last row, so that rows stay dense.
  void remove(std::span<const LatentId> ids);
  // Gives the rows back to the system; ids by position remain.
  void drop_rows() { rows_.reset(); }
  int64_t bytes() const;
  static int64_t bytes_for(int64_t n, int64_t dim);

  // Bound of |cosine - (base + score)|, cosine being score(x, y) / |y| of the contract.
  double error() const { return error_; }
  // q and base = <y/|y|, c> of each source.
  struct Queries {
    std::vector<float> vectors;  // [queries, dim]
    std::vector<double> bases;
  };
  void make_queries(std::span<const Query> queries, Parallel& parallel, Queries& out) const;

 private:
  const Scorer& scorer_;
  int64_t dim_;
  int64_t count_;
  std::unique_ptr<float[]> rows_;
  std::vector<LatentId> id_at_;       // by position
  std::vector<int32_t> position_of_;  // by id; made when something is removed
  std::vector<double> centre_;
  double error_ = 0.0;
};

}  // namespace gtn
