// DistinctLatents: latents that no source can tell apart, collapsed into one id with a queue of
// members. Rows with equal bytes have equal scores for every source; in one dimension, so do rows
// of one sign and norm, and when products are exact in float64, all rows of one sign (score = +-|y|
// exactly). Without this, a data set of repeated rows would be one long tie that no shortlist can
// certify.
// Ids ascend with the rank of their first member; members ascend by rank.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/contract.hpp"
#include "core/indices.hpp"
#include "core/parallel.hpp"

namespace gtn {

class DistinctLatents {
 public:
  // row_of_rank: rank -> latent row; norms: indexed by latent row.
  DistinctLatents(const Scorer& scorer, std::vector<LatentRow> row_of_rank,
                  const std::vector<double>& norms, Parallel& parallel);

  // Rows of one class are equal. classes: by latent row; a class goes by one of its rows.
  DistinctLatents(std::vector<LatentRow> row_of_rank, const std::vector<double>& norms,
                  const std::vector<int32_t>& classes);

  // Counts all rows as different.
  DistinctLatents(std::vector<LatentRow> row_of_rank, const std::vector<double>& norms)
      : row_of_rank_(std::move(row_of_rank)),
        norms_(norms),
        count_(static_cast<int32_t>(row_of_rank_.size())) {}

  int32_t count() const { return count_; }
  int64_t latents() const { return std::ssize(row_of_rank_); }
  bool all_different() const { return start_.empty(); }

  LatentRow row_of_rank(Rank rank) const { return row_of_rank_[rank.value]; }
  // The row that stands for all members of an id, and its norm.
  LatentRow row(LatentId id) const { return row_of_rank(member(id, 0)); }
  double norm(LatentId id) const { return norms_[row(id)]; }

  int32_t members(LatentId id) const { return all_different() ? 1 : start_[id + 1] - start_[id]; }
  // Rank of the j-th member.
  Rank member(LatentId id, int32_t j) const {
    return {all_different() ? id : ranks_[start_[id] + j]};
  }

 private:
  void collapse(const std::vector<int32_t>& leader);

  std::vector<LatentRow> row_of_rank_;
  const std::vector<double>& norms_;
  int32_t count_ = 0;
  std::vector<int32_t> start_;  // [count + 1], empty if all rows differ
  std::vector<int32_t> ranks_;  // members of id: ranks_[start_[id] .. start_[id + 1])
};

}  // namespace gtn
