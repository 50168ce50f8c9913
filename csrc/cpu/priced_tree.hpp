// PricedTree: the PricedSearch of few dimensions: a tree of boxes (direction_tree.hpp) in which
// every leaf knows its latents' prices and every box the least price below it. A source walks to
// the boxes of largest <y, x> - price first. No row is a unit vector here: all are divided by one
// length.
#pragma once

#include <memory>
#include <vector>

#include "core/optimal.hpp"
#include "cpu/direction_tree.hpp"
#include "cpu/price_floor.hpp"
#include "cpu/priced_guesses.hpp"

namespace gtn {

class PricedTree final : public PricedSearch {
 public:
  // scorer: with lengths for latents and sources (Rows::length).
  PricedTree(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
             PriceView prices, const TreeKernel& kernel, Parallel& parallel);
  ~PricedTree() override;

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId> ids) override;
  bool cheap_alone() const override { return true; }

  // True if walks cost less than scanning all latents, tried on some sources.
  bool worthwhile();

 private:
  class Walk;  // one source's way through the tree
  double cosine(int64_t price) const { return grid_.real(price) / unit_; }
  // What float32 resolves of a price.
  float above_base(int64_t position) const;
  void fit();
  double sure_value(SourceRow source, const PricedList& list) const;

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  PriceView prices_;
  const TreeKernel& kernel_;
  Parallel& parallel_;
  FreeLatents free_;  // all of them
  double unit_;       // score of a cosine of 1
  DirectionTree tree_;
  // In cosines: by position; the least of a leaf when last fitted; and by position what they are
  // above that, rounded down.
  std::vector<double> price_, base_;
  std::vector<float> above_base_;
  PriceFloor floor_;
  int64_t raised_ = 0;  // prices since the floor was fitted
  PricedGuesses guesses_;
  std::vector<std::unique_ptr<Walk>> walks_;  // by thread
};

}  // namespace gtn
