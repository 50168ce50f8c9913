#include "core/group_chooser.hpp"

namespace gtn {

GroupChooser::GroupChooser(const TransportRows& rows, const TransportGroup& group,
                           std::span<const SourceRow> sources, const Prices& prices,
                           const PricedBackend& backend, int64_t depth, int64_t longest,
                           Parallel& parallel, AuctionStats& stats) {
  const DistinctLatents& searched = group.searched();
  if (searched.count() > 0) {
    const PriceView view = group.own ? PriceView(prices, group.own->ids) : PriceView(prices);
    exact_ = std::make_unique<ExactPricedScan>(group.scorer, group.grid, searched, view, parallel);
    search_ = backend(group.scorer, group.grid, searched, view, parallel);
    local_ = std::make_unique<LocalChooser>(group.scorer, group.grid, searched, sources, view,
                                            *search_, *exact_, depth, longest, parallel, stats);
  }
  if (group.own) {
    Collective& ranks = rows.share->ranks;
    sharded_ = std::make_unique<ShardedChooser>(local_.get(), group.own->ids, prices, ranks);
    ranks.note(static_cast<uint64_t>(group.grid.exponent()));
    ranks.note(static_cast<uint64_t>(group.epsilon));
    for (const int64_t price : group.first_prices) ranks.note(static_cast<uint64_t>(price));
  }
}

}  // namespace gtn
