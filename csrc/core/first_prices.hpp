// First prices from a sample: in few dimensions, prices that suit a quarter of the rows are so
// close to those that suit all that the auction can begin with a small epsilon.
#pragma once

#include "core/auction.hpp"
#include "core/optimal.hpp"
#include "core/transport_group.hpp"

namespace gtn {

// The sample that is at work, for people. A sample's own sample takes its place for a while.
struct Sampling {
  int64_t sources = 0;               // 0: there is no sample
  const Auction* auction = nullptr;  // null before and after it runs
};

// Sets the first prices and the first epsilon of a group of at least `from` rows where that pays.
// depth: of the lists. `told` says what goes on, and is empty again at the end.
void sample_first_prices(const TransportRows& rows, const GroupRows& group,
                         TransportGroup& integers, const PricedBackend& backend, int64_t depth,
                         int64_t from, Parallel& parallel, AuctionStats& stats, Sampling& told);

// Of each source of a scorer the best id and its score less price.
void for_each_favourite(const Scorer& scorer, const ScoreGrid& grid,
                        const DistinctLatents& distinct, Prices& prices,
                        const PricedBackend& backend, Parallel& parallel, AuctionStats& stats,
                        FunctionRef<void(SourceRow source, LatentId id, int64_t value)> visit);

}  // namespace gtn
