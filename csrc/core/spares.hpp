// Spares: stand-ins for the sources that are missing where there are fewer sources than latents.
// They score 0 with every latent, so in an optimum they hold the latents whose prices rose least,
// and all latents are held by somebody: without them, prices of latents that nobody takes would
// have to fall again. Being alike (similar persons: Bertsekas and Castanon 1989), they take latents
// together, and what they hold has risen by the same level.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "core/prices.hpp"

namespace gtn {

class Spares {
 public:
  // Some of the `count` spares may hold latents already.
  Spares(Prices& prices, int64_t count);

  // All give up their latents: a phase begins.
  void drop();
  // A source took a latent from one of them.
  void lost(LatentId id);
  // All without a latent take those that rose least, and the level becomes the rise of the next
  // plus epsilon. Appends the sources that held the latents.
  void place(int64_t epsilon, std::vector<int32_t>& displaced);
  // The latents that they hold.
  std::vector<LatentId> held() const;
  // How much less they could pay at these prices, in all.
  double gap() const;

 private:
  struct Entry {
    int64_t rise;
    LatentId id;
    bool operator>(const Entry& o) const { return rise != o.rise ? rise > o.rise : id > o.id; }
  };
  // Removes and returns the latent that rose least among those that none of them holds.
  bool next(Entry& entry);

  Prices& prices_;
  int64_t count_, unplaced_;
  // Of every latent that none of them holds, with its rise or less.
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> cheapest_;
};

}  // namespace gtn
