// PricedSearch: the search of optimal transport: for a source, the latents of largest score - price
// and a bound of all others. Prices only rise, so a list stays certified for ever: `outside` only
// becomes safer. Latents go by distinct id (distinct.hpp), and scores and prices are integers
// (score_grid.hpp). Unlike a Shortlist, a search may read any source of its scorer: an auction
// keeps all sources of a group, and asks for each of them in its first round.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/indices.hpp"
#include "core/price_view.hpp"
#include "core/score_grid.hpp"
#include "core/shortlist.hpp"

namespace gtn {

// Below every score less its price.
constexpr int64_t kNothing = std::numeric_limits<int64_t>::min() / 4;

struct PricedCandidate {
  LatentId id;
  int64_t score;  // exact, or an upper bound
  bool exact;
};

struct PricedList {
  std::vector<PricedCandidate> items;  // about by score - price, descending
  // Every id that is not listed has score - price below `outside`, or equal to it and a higher id
  // than outside_id (-1: nothing is known of ids).
  int64_t outside = kNothing;
  LatentId outside_id = -1;

  void clear() {
    items.clear();
    outside = kNothing;
    outside_id = -1;
  }
};

// Makes the list of what a search found: its `depth` best by upper bound. `unit`: what the bounds
// of `found` are multiples of. Sorts `found`.
void set_list(CandidateList& found, int64_t depth, double unit, const ScoreGrid& grid,
              PriceView prices, PricedList& list);

class PricedSearch {
 public:
  virtual ~PricedSearch() = default;

  // Lists about `depth` latents for each source at the prices of now. before[i]: the bound
  // `outside` of the list that the source had, kNothing if it had none.
  virtual void search(std::span<const SourceRow> sources, std::span<const int64_t> before,
                      int64_t depth, std::span<PricedList> lists) = 0;

  // True if a search for one source costs no more than its share of many.
  virtual bool cheap_alone() const { return false; }

  // Bounds scores more closely from now on, at a higher cost; false if nothing closer is left.
  virtual bool refine() { return false; }

  // The prices of these ids rose.
  virtual void raised(std::span<const LatentId> ids) = 0;
};

}  // namespace gtn
