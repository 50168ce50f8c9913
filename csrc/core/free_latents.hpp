// FreeLatents: which latents are still free, by distinct id. The members of an id are taken in
// ascending rank, because equal scores go to the lower rank (contract, rules 3 and 4).
#pragma once

#include <cstdint>
#include <vector>

#include "core/distinct.hpp"

namespace gtn {

class FreeLatents {
 public:
  explicit FreeLatents(const DistinctLatents& distinct);

  const DistinctLatents& distinct() const { return distinct_; }
  int64_t count() const { return free_; }    // free latents
  int32_t ids() const { return free_ids_; }  // ids with a free member
  int32_t remaining(LatentId id) const { return distinct_.members(id) - taken_[id]; }
  bool is_free(LatentId id) const { return remaining(id) > 0; }
  // Lowest free rank of an id that is free.
  Rank rank(LatentId id) const { return distinct_.member(id, taken_[id]); }
  // Takes the member of lowest rank and returns its rank.
  Rank take(LatentId id);

 private:
  const DistinctLatents& distinct_;
  std::vector<int32_t> taken_;  // members taken, by id
  int64_t free_;
  int32_t free_ids_;
};

}  // namespace gtn
