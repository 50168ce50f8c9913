// match_rows: the whole job on plain pointers: the problem (problem.hpp), the prefix of an earlier
// run, the greedy loop per group, cosines. Called by the bindings; no Python here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/problem.hpp"
#include "core/shortlist.hpp"
#include "core/stats.hpp"

namespace gtn {

struct MatchOutput {
  int64_t* assignment;  // [n] latent row by source row
  double* cosine;       // [n] by source row
  int64_t* visited;     // [n] latent row by position in visiting order, filled as the run advances
};

// A backend: makes a shortlist for the latents that are free. The queries are those of the first
// search, for choices that depend on sources.
using Backend = std::function<std::unique_ptr<Shortlist>(const Scorer&, const FreeLatents&,
                                                         std::span<const Query>, Parallel&)>;

// Bytes of a run over m latents and n sources, besides the inputs, the outputs and the backend:
// norms, orders, ranks, the free list and a window's lists.
inline int64_t work_bytes(int64_t m, int64_t n) {
  return 40 * m + 16 * n + (int64_t{4} << 20);
}

// Throws std::invalid_argument, with the bytes needed, if a backend's budget is below them (0: no
// limit).
void require_memory(int64_t memory, int64_t needed);

// Throws std::invalid_argument for undefined input (contract, rules 5 and 8). `done` counts the
// leading entries of visited that are final, `input.start` or more; `poll` is called on the calling
// thread about every 50 ms, and what it throws ends the run.
Stats match_rows(const MatchInput& input, const Backend& backend, const MatchOutput& output,
                 int64_t& done, Poll poll);

}  // namespace gtn
