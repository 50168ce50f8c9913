// Chooser: how an auction sees its latents: each source's best at the prices of now. Latents may be
// here (local_chooser.hpp) or on many machines (sharded_chooser.hpp). An auction is the same with
// both, because a choice is a pure function of scores and prices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/indices.hpp"
#include "core/priced_search.hpp"

namespace gtn {

struct Choice {
  int64_t best = kNothing, second = kNothing;  // score - price
  LatentId id = -1;
};

class Chooser {
 public:
  Chooser() = default;
  virtual ~Chooser() = default;
  Chooser(const Chooser&) = delete;
  Chooser& operator=(const Chooser&) = delete;

  // The best latents of some sources, by their positions in the group. second_too: `second` is
  // right as well.
  virtual void choose(std::span<const int32_t> sources, bool second_too,
                      std::vector<Choice>& choices) = 0;
  // Scores of pairs: a source's position and an id.
  virtual std::vector<int64_t> scores(std::span<const int32_t> sources,
                                      std::span<const LatentId> ids) = 0;
  // The prices of these ids rose.
  virtual void raised(std::span<const LatentId> ids) = 0;
};

}  // namespace gtn
