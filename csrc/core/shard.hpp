// Shard: the latents of one machine among many. For each source it lists the best of its free
// latents, exact and in order. On the host (host_shard.hpp), or on a device.
#pragma once

#include <cstdint>
#include <span>

#include "core/key.hpp"
#include "core/shortlist.hpp"

namespace gtn {

class Shard {
 public:
  Shard() = default;
  virtual ~Shard() = default;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // The best free latents for each source, best first: `count` of them, or fewer where more would
  // take too long, but at least one. A key of no latent ends a list that has fewer.
  // out: [queries][count]
  virtual void search(std::span<const Query> queries, int64_t count, Key* out) = 0;
  // Latents that were taken, in the order in which they were, by their rows among those of all
  // machines. Those of other machines are ignored. See refuse_taken.
  virtual void remove(std::span<const int64_t> taken) = 0;
};

// Throws std::invalid_argument: this latent cannot have been taken next.
[[noreturn]] void refuse_taken(int64_t latent);

}  // namespace gtn
