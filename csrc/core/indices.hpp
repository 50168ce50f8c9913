// The numbers that rows go by. Latents have three: the row in the array, the rank in the order that
// breaks ties, and the id that they share with all latents that no source can tell from them
// (distinct.hpp). A rank has a type of its own, because where all latents differ it equals the id,
// and a mix-up would go unseen.
#pragma once

#include <compare>
#include <cstdint>

namespace gtn {

using SourceRow = int32_t;
using LatentRow = int32_t;
using LatentId = int32_t;

struct Rank {
  int32_t value = -1;  // -1: none
  friend auto operator<=>(const Rank&, const Rank&) = default;
};

}  // namespace gtn
