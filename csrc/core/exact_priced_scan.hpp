// ExactPricedScan: the PricedSearch that needs no codes: it scores every latent with the contract's
// arithmetic and lists the best in the contract's order.
#pragma once

#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/parallel.hpp"
#include "core/priced_search.hpp"

namespace gtn {

class ExactPricedScan final : public PricedSearch {
 public:
  ExactPricedScan(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                  PriceView prices, Parallel& parallel);

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId>) override {}

  // Scores the latents that other searches listed, where these did not, and keeps the `depth` best
  // of each list.
  void sharpen(std::span<const SourceRow> sources, int64_t depth, std::span<PricedList> lists);

 private:
  struct Valued;
  void list(SourceRow source, int64_t depth, PricedList& list) const;
  void sharpen_one(SourceRow source, int64_t depth, PricedList& list) const;

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  const DistinctLatents& distinct_;
  PriceView prices_;
  Parallel& parallel_;
};

}  // namespace gtn
