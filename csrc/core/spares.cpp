#include "core/spares.hpp"

#include <algorithm>
#include <functional>

namespace gtn {

Spares::Spares(Prices& prices, int64_t count) : prices_(prices), count_(count), unplaced_(count) {
  if (count_ == 0) return;
  for (LatentId id = 0; id < prices.count(); ++id) cheapest_.push({prices.rise(id), id});
}

int64_t Spares::least_rise() const {
  int64_t least = INT64_MAX;
  for (LatentId id = 0; id < prices_.count(); ++id) least = std::min(least, prices_.rise(id));
  return least;
}

void Spares::drop_unhappy(int64_t epsilon) {
  if (count_ == 0) return;
  const int64_t most = least_rise() + epsilon;
  for (LatentId id = 0; id < prices_.count(); ++id) {
    if (!holds(id) || prices_.rise(id) <= most) continue;
    prices_.release(id, kSpare);
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

void Spares::place(int64_t epsilon, std::vector<LatentId>& raised,
                   std::vector<int32_t>& displaced) {
  if (unplaced_ == 0) return;
  std::vector<Entry> taken(unplaced_);
  for (Entry& entry : taken) next(entry);
  Entry second;
  int64_t rise = taken.back().rise;
  if (next(second)) {
    rise = second.rise;
    cheapest_.push(second);
  }
  for (const Entry& entry : taken) {
    const int32_t owner = prices_.cheapest_owner(entry.id);
    if (owner >= 0) displaced.push_back(owner);
    prices_.sell(entry.id, prices_.of(entry.id) + (rise - entry.rise) + epsilon, kSpare);
    raised.push_back(entry.id);
  }
  unplaced_ = 0;
}

double Spares::gap() const {
  if (count_ == 0) return 0.0;
  const int64_t least = least_rise();
  double sum = 0.0;
  for (LatentId id = 0; id < prices_.count(); ++id) {
    if (holds(id)) sum += static_cast<double>(prices_.rise(id) - least);
  }
  return sum;
}

}  // namespace gtn
