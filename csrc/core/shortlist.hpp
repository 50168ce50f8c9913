// The Shortlist interface: all that a backend is. For every source of a block it collects the free
// latents that may score best, each with an upper bound of its true score, together with `outside`,
// an upper bound of the true score of every free latent that is not in the list. The engine
// rescores exactly, certifies and decides; a backend can be slow or vague, never wrong, as long as
// its bounds hold. Latents go by distinct id (distinct.hpp). A backend reads the source rows of
// queries and no others: where latents lie on many machines, others need not be there.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/indices.hpp"
#include "core/stats.hpp"

namespace gtn {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Candidate {
  LatentId id;
  double upper;                                             // >= score, in score units
  double score = std::numeric_limits<double>::quiet_NaN();  // exact; NaN until rescored
  double lower = -kInfinity;                                // <= score; spares exact scores
};

struct CandidateList {
  std::vector<Candidate> items;  // in no particular order
  // Every free latent that is not listed scores below `outside`, or equal to it with a rank above
  // outside_rank (none: nothing is known about ranks).
  double outside = kInfinity;
  Rank outside_rank;
  // The decision's own: so many items have the largest upper bounds, and come first.
  size_t leading = 0;

  void clear() {
    items.clear();
    outside = kInfinity;
    outside_rank = {};
    leading = 0;
  }
};

struct Query {
  SourceRow source_row;
  double source_norm;
  // Known lower bound on the best score; the search may ignore latents below it. With a finite
  // floor the list holds every free latent that may reach it, unless there are too many.
  double floor = -kInfinity;
};

class Shortlist {
 public:
  virtual ~Shortlist() = default;

  // Fills lists[i] for queries[i]. `depth`: how many of the best free latents the list should be
  // able to certify. `guess` allows starting thresholds guessed from earlier blocks; a list that
  // then turns out too short is asked for again without.
  virtual void search(std::span<const Query> queries, int64_t depth, bool guess,
                      std::span<CandidateList> lists) = 0;

  // These ids have no free member left.
  virtual void remove(std::span<const LatentId> ids) = 0;

  // True if a search for one source costs no more than its share of a block: conflicts are then
  // simply searched again.
  virtual bool cheap_alone() const { return false; }

  // Adds what a search runs with (arithmetic) and the bytes it holds beyond work_bytes().
  virtual void describe(Stats&) const {}
};

}  // namespace gtn
