#include "core/held.hpp"

#include <algorithm>

namespace gtn {
namespace {
constexpr size_t kFewest = 256;
}

void Held::clear() {
  // Of the size that the last window needed.
  if (slots_.size() > kFewest && used_ < slots_.size() / 8) slots_.resize(slots_.size() / 2);
  slots_.assign(std::max(slots_.size(), kFewest), {});
  used_ = 0;
  trial_ = last_trial_ = 0;
}

size_t Held::slot_of(int64_t latent) const {
  const size_t mask = slots_.size() - 1;
  size_t at = (static_cast<uint64_t>(latent) * 0x9E3779B97F4A7C15u >> 20) & mask;
  while (slots_[at].latent != -1 && slots_[at].latent != latent) at = (at + 1) & mask;
  return at;
}

bool Held::contains(int64_t latent) const {
  const Slot& slot = slots_[slot_of(latent)];
  return slot.latent == latent && (slot.mark == 0 || slot.mark == trial_);
}

void Held::insert(int64_t latent) {
  if (2 * (used_ + 1) > slots_.size()) grow();
  Slot& slot = slots_[slot_of(latent)];
  const bool new_here = slot.latent == -1;
  used_ += new_here;
  if (new_here || slot.mark != 0) slot = {latent, trial_};
}

void Held::grow() {
  std::vector<Slot> old(2 * slots_.size());
  old.swap(slots_);
  used_ = 0;
  for (const Slot& slot : old) {
    if (slot.latent == -1 || (slot.mark != 0 && slot.mark != trial_)) continue;
    slots_[slot_of(slot.latent)] = slot;
    ++used_;
  }
}

}  // namespace gtn
