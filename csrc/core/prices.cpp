#include "core/prices.hpp"

#include <algorithm>
#include <utility>

namespace gtn {

Prices::Prices(const DistinctLatents& distinct, std::vector<int64_t> start)
    : distinct_(distinct), least_(start), at_start_(std::move(start)) {
  if (!distinct.all_different()) {
    first_.assign(distinct.count() + 1, 0);
    for (LatentId id = 0; id < distinct.count(); ++id) {
      first_[id + 1] = first_[id] + distinct.members(id);
    }
  }
  slots_.resize(distinct.latents());
  for (LatentId id = 0; id < distinct.count(); ++id) {
    for (int64_t s = begin(id); s < end(id); ++s) {
      slots_[s] = {least_[id], static_cast<int32_t>(s - begin(id)), kNobody};
    }
  }
}

void Prices::sell(LatentId id, int64_t price, int32_t owner) {
  const auto first = slots_.begin() + begin(id), last = slots_.begin() + end(id);
  std::pop_heap(first, last, dearer);
  (last - 1)->price = price;
  (last - 1)->owner = owner;
  std::push_heap(first, last, dearer);
  least_[id] = first->price;
}

void Prices::give_to_spare(LatentId id) {
  slots_[begin(id)].owner = kSpare;
  least_[id] = kAtLevel;
}

void Prices::take_from_spare(LatentId id) {
  Slot& slot = slots_[begin(id)];
  slot.owner = kNobody;
  slot.price = least_[id] = of(id);
}

void Prices::release(LatentId id, int32_t owner) {
  for (int64_t s = begin(id); s < end(id); ++s) {
    if (slots_[s].owner == owner) {
      slots_[s].owner = kNobody;
      return;
    }
  }
}

void Prices::level_members() {
  if (first_.empty()) return;
  for (LatentId id = 0; id < count(); ++id) {
    const auto first = slots_.begin() + begin(id), last = slots_.begin() + end(id);
    for (auto slot = first; slot != last; ++slot) slot->price = least_[id];
    std::make_heap(first, last, dearer);
  }
}

void Prices::owners(LatentId id, FunctionRef<void(Rank, int32_t)> visit) const {
  for (int64_t s = begin(id); s < end(id); ++s) {
    visit(distinct_.member(id, slots_[s].member), slots_[s].owner);
  }
}

void Prices::members(FunctionRef<void(Rank, int64_t, int32_t)> visit) const {
  for (LatentId id = 0; id < count(); ++id) {
    for (int64_t s = begin(id); s < end(id); ++s) {
      const Slot& slot = slots_[s];
      visit(distinct_.member(id, slot.member), slot.owner == kSpare ? kAtLevel : slot.price,
            slot.owner);
    }
  }
}

void Prices::restore(std::span<const int64_t> price, std::span<const int32_t> owner,
                     int64_t level) {
  level_ = level;
  for (LatentId id = 0; id < count(); ++id) {
    for (int64_t s = begin(id); s < end(id); ++s) {
      Slot& slot = slots_[s];
      const int32_t rank = distinct_.member(id, slot.member).value;
      slot.price = price[rank];
      slot.owner = owner[rank];
    }
    std::make_heap(slots_.begin() + begin(id), slots_.begin() + end(id), dearer);
    least_[id] = slots_[begin(id)].price;
  }
}

}  // namespace gtn
