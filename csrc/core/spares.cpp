#include "core/spares.hpp"

#include <algorithm>

namespace gtn {

Spares::Spares(Prices& prices, int64_t count) : prices_(prices), count_(count), unplaced_(count) {
  if (count_ == 0) return;
  for (LatentId id = 0; id < prices.count(); ++id) {
    if (prices.cheapest_owner(id) == kSpare) {
      --unplaced_;
    } else {
      cheapest_.push({prices.rise(id), id});
    }
  }
}

void Spares::drop() {
  for (const LatentId id : held()) {
    prices_.take_from_spare(id);
    lost(id);
  }
}

void Spares::lost(LatentId id) {
  ++unplaced_;
  cheapest_.push({prices_.rise(id), id});
}

bool Spares::next(Entry& entry) {
  while (!cheapest_.empty()) {
    entry = cheapest_.top();
    cheapest_.pop();
    const int64_t now = prices_.rise(entry.id);
    if (now == entry.rise) return true;
    cheapest_.push({now, entry.id});
  }
  return false;
}

void Spares::place(int64_t epsilon, std::vector<int32_t>& displaced) {
  if (unplaced_ == 0) return;
  Entry entry{};
  for (; unplaced_ > 0; --unplaced_) {
    next(entry);
    const int32_t owner = prices_.cheapest_owner(entry.id);
    if (owner >= 0) displaced.push_back(owner);
    prices_.give_to_spare(entry.id);
  }
  Entry second{};
  if (next(second)) {
    entry = second;
    cheapest_.push(second);
  }
  prices_.set_level(std::max(prices_.level(), entry.rise + epsilon));
}

std::vector<LatentId> Spares::held() const {
  std::vector<LatentId> ids;
  if (count_ == 0) return ids;
  for (LatentId id = 0; id < prices_.count(); ++id) {
    if (prices_.cheapest_owner(id) == kSpare) ids.push_back(id);
  }
  return ids;
}

double Spares::gap() const {
  if (count_ == 0) return 0.0;
  int64_t least = prices_.level();
  for (LatentId id = 0; id < prices_.count(); ++id) least = std::min(least, prices_.rise(id));
  return static_cast<double>(prices_.level() - least) * static_cast<double>(count_);
}

}  // namespace gtn
