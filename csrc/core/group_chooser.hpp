// GroupChooser: the Chooser of a group's sources, with the searches that it needs: over the latents
// that are here, and over those of other machines if there are any.
#pragma once

#include <memory>
#include <span>

#include "core/auction_stats.hpp"
#include "core/exact_priced_scan.hpp"
#include "core/local_chooser.hpp"
#include "core/optimal.hpp"
#include "core/sharded_chooser.hpp"
#include "core/transport_group.hpp"

namespace gtn {

class GroupChooser {
 public:
  // depth, longest: of a source's list. All must outlive this object.
  GroupChooser(const TransportRows& rows, const TransportGroup& group,
               std::span<const SourceRow> sources, const Prices& prices,
               const PricedBackend& backend, int64_t depth, int64_t longest, Parallel& parallel,
               AuctionStats& stats);

  Chooser& chooser() { return sharded_ ? static_cast<Chooser&>(*sharded_) : *local_; }

 private:
  std::unique_ptr<ExactPricedScan> exact_;
  std::unique_ptr<PricedSearch> search_;
  std::unique_ptr<LocalChooser> local_;  // null if no latent is here
  std::unique_ptr<ShardedChooser> sharded_;
};

}  // namespace gtn
