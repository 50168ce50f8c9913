// Spares: stand-ins for the sources that are missing where there are fewer sources than latents.
// They score 0 with every latent, so in an optimum they hold the latents whose prices rose least,
// and all latents are held by somebody: without them, prices of latents that nobody takes would have
// to fall again. Being alike, they take latents together (similar persons: Bertsekas and Castanon
// 1989).
#pragma once

#include <cstdint>
#include <queue>
#include <span>
#include <vector>

#include "core/prices.hpp"

namespace gtn {

class Spares {
 public:
  Spares(Prices& prices, int64_t count);

  int64_t count() const { return count_; }
  // Those that would save more than epsilon elsewhere give up their latents.
  void drop_unhappy(int64_t epsilon);
  // A source took a latent from one of them.
  void lost(LatentId id);
  // All without a latent take those that rose least, at the rise of the next plus epsilon.
  // Appends the ids, and the sources that held them.
  void place(int64_t epsilon, std::vector<LatentId>& raised, std::vector<int32_t>& displaced);
  // How much less they could pay at these prices, in all.
  double gap() const;

 private:
  struct Entry {
    int64_t rise;
    LatentId id;
    bool operator>(const Entry& o) const { return rise != o.rise ? rise > o.rise : id > o.id; }
  };
  bool holds(LatentId id) const { return prices_.cheapest_owner(id) == kSpare; }
  int64_t least_rise() const;
  // Removes and returns the latent that rose least among those that none of them holds.
  bool next(Entry& entry);

  Prices& prices_;
  int64_t count_, unplaced_;
  // Of every latent that none of them holds, with its rise or less.
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> cheapest_;
};

}  // namespace gtn
