#include "core/free_latents.hpp"

namespace gtn {

FreeLatents::FreeLatents(const DistinctLatents& distinct)
    : distinct_(distinct),
      taken_(distinct.count(), 0),
      free_(distinct.latents()),
      free_ids_(distinct.count()) {}

Rank FreeLatents::take(LatentId id) {
  const Rank taken_rank = rank(id);
  ++taken_[id];
  --free_;
  if (!is_free(id)) --free_ids_;
  return taken_rank;
}

}  // namespace gtn
