// ExactPricedScan: the PricedSearch that needs no codes: it scores every latent with the contract's
// arithmetic and lists the best in the contract's order.
#pragma once

#include "core/auction.hpp"
#include "core/contract.hpp"
#include "core/parallel.hpp"
#include "core/priced_search.hpp"

namespace gtn {

class ExactPricedScan final : public PricedSearch {
 public:
  ExactPricedScan(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                  const Prices& prices, Parallel& parallel);

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId>) override {}

 private:
  void list(SourceRow source, int64_t depth, PricedList& list) const;

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  const DistinctLatents& distinct_;
  const Prices& prices_;
  Parallel& parallel_;
};

}  // namespace gtn
