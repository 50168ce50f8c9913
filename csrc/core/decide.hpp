// The exact decision for one source: rescores a shortlist with the contract's arithmetic, best
// bound first, and certifies the choice against everything that was not listed or not rescored.
#pragma once

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/shortlist.hpp"

namespace gtn {

struct Decision {
  LatentId id = -1;
  Rank rank;  // of the member that would be taken
  double score = -kInfinity;
  bool certified = false;
  // Known lower bound on the best score; a retry may ignore candidates below it.
  double floor = -kInfinity;
};

// Contract rules 3 and 4 over the free latents of the list. Rescored entries are kept in the list.
// `rescored` counts the exact scores computed.
Decision decide(const Scorer& scorer, const FreeLatents& free, SourceRow source_row, int64_t cone,
                CandidateList& list, int64_t& rescored);

}  // namespace gtn
