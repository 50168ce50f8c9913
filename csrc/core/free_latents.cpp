// Implements free_latents.hpp.
#include "core/free_latents.hpp"

namespace gtn {

FreeLatents::FreeLatents(const DistinctLatents& distinct)
    : distinct_(distinct),
      taken_(static_cast<size_t>(distinct.count()), 0),
      free_(distinct.latents()),
      free_ids_(distinct.count()) {}

int32_t FreeLatents::take(int32_t id) {
  const int32_t taken_rank = rank(id);
  ++taken_[static_cast<size_t>(id)];
  --free_;
  if (!is_free(id)) --free_ids_;
  return taken_rank;
}

}  // namespace gtn
