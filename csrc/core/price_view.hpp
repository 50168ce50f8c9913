// PriceView: the prices of the latents that one machine searches, by its own ids: all, or those of
// its shard.
#pragma once

#include <cstdint>
#include <span>

#include "core/prices.hpp"

namespace gtn {

class PriceView {
 public:
  // Of all ids. `prices` must outlive this object.
  PriceView(const Prices& prices) : prices_(&prices) {}
  // Of some: own id i is the id wholes[i] of `prices`. Both must outlive this object.
  PriceView(const Prices& prices, std::span<const LatentId> wholes)
      : prices_(&prices), wholes_(wholes.data()) {}

  int64_t of(LatentId id) const { return prices_->of(whole(id)); }
  int32_t cheapest_owner(LatentId id) const { return prices_->cheapest_owner(whole(id)); }
  int64_t level() const { return prices_->level(); }

 private:
  LatentId whole(LatentId id) const { return wholes_ == nullptr ? id : wholes_[id]; }

  const Prices* prices_;
  const LatentId* wholes_ = nullptr;
};

}  // namespace gtn
