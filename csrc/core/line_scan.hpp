// LineScan: the Shortlist for one dimension, where every latent points one of two ways and scores
// differ by rounding alone. With x and y of one sign, score = fl(fl(xy) / |x|) is |y|, or one unit
// in the last place beside it; so the next float64 above |y| (below, for opposite signs) cannot be
// exceeded, ties go to the lower rank, and a walk in rank order ends at the first few latents that
// reach it. Any approximate arithmetic would have to list half of all latents.
#pragma once

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"

namespace gtn {

class LineScan final : public Shortlist {
 public:
  LineScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const int32_t> ids) override;

 private:
  // The latents of one sign, in ascending id; some may no longer be free.
  struct Side {
    std::vector<int32_t> ids;
    std::vector<double> values, norms;
    int64_t free = 0;
  };
  // Appends to the list; true if it had to leave some out.
  bool list(const Side& side, double y, double largest, size_t enough, CandidateList& out) const;
  Side& side_of(int32_t id);

  const Scorer& scorer_;
  const FreeLatents& free_;
  Parallel& parallel_;
  Side sides_[2];  // negative, positive
};

}  // namespace gtn
