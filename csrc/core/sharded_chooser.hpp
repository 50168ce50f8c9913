// ShardedChooser: the Chooser of latents on many machines. Each machine finds the best of its own
// for every source that asks, one all_gather tells all machines, and each takes the best of those.
// Prices, owners and everything else of an auction are on every machine alike, so a round needs no
// other message.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/chooser.hpp"
#include "core/collective.hpp"

namespace gtn {

class ShardedChooser final : public Chooser {
 public:
  // own: of the latents here, or null if there are none. ids: what its ids are among those of all
  // machines, ascending.
  ShardedChooser(Chooser* own, std::span<const LatentId> ids, const Prices& prices,
                 Collective& ranks)
      : own_(own), ids_(ids), prices_(prices), ranks_(ranks) {}

  static constexpr int64_t kBytesOfARound = 64 * sizeof(Choice);  // of most rounds

  void choose(std::span<const int32_t> sources, bool second_too,
              std::vector<Choice>& choices) override;
  std::vector<int64_t> scores(std::span<const int32_t> sources,
                              std::span<const LatentId> ids) override;
  void raised(std::span<const LatentId> ids) override;

 private:
  // The own id, or -1.
  LatentId own_id(LatentId id) const;

  Chooser* own_;
  std::span<const LatentId> ids_;
  const Prices& prices_;
  Collective& ranks_;
};

}  // namespace gtn
