// audit_rows: goes through the pairs of a finished run in the order in which they were made, and
// finds for some of the sources the exact choice among the latents that were free at that moment.
// The loss of an approximate run is computed from these.
#pragma once

#include <cstdint>
#include <span>

#include "core/match.hpp"

namespace gtn {

struct AuditOutput {
  int64_t* source;  // [positions] source row
  int64_t* latent;  // [positions] latent row that the contract chooses
  double* cosine;   // [positions] of the two
};

// visited: [n] the latent row that the source at each position took. positions: ascending.
// `backend` must be exact; input.start is not used. Throws as match_rows does, and
// std::invalid_argument for pairs that cannot have been made. `done` counts the positions dealt
// with.
void audit_rows(const MatchInput& input, const Backend& backend, std::span<const int64_t> visited,
                std::span<const int64_t> positions, const AuditOutput& output, int64_t& done,
                Poll poll);

}  // namespace gtn
