// A Shortlist over a tree of directions (direction_tree.hpp): every source walks down to the
// nearest leaves and back, skipping boxes below its pruning threshold. Latents that few dimensions
// describe are found in a few leaves; elsewhere the scan of shortlist_cpu.hpp is faster, and
// `worthwhile` says so.
#pragma once

#include <memory>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "cpu/direction_tree.hpp"
#include "cpu/tree_kernels.hpp"

namespace gtn {

class TreeShortlist final : public Shortlist {
 public:
  TreeShortlist(const Scorer& scorer, const FreeLatents& free, const TreeKernel& kernel,
                Parallel& parallel);
  ~TreeShortlist() override;

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;
  void describe(Stats& stats) const override;
  bool cheap_alone() const override { return true; }

  // Walks for a few of these queries, to know what a walk costs here.
  void try_out(std::span<const Query> queries);
  // True if walks cost less than scanning all free latents, as measured by try_out() and on the
  // last windows later.
  bool worthwhile() const { return cost_ < 1.0; }

 private:
  class Walk;  // one source's way through the tree
  double cost_of_walks(int64_t walks);

  const Scorer& scorer_;
  const FreeLatents& free_;
  Parallel& parallel_;
  const TreeKernel& kernel_;
  std::unique_ptr<DirectionTree> tree_;
  std::vector<std::unique_ptr<Walk>> walks_;  // one a thread
  int64_t alone_ = 0;                         // searches for one source since the last window
  double cost_ = 0.0;                         // of a walk, in scans
};

}  // namespace gtn
