// optimal_rows: optimal transport on plain pointers: checks, the grid of integer scores, the
// auction of each group, prices and certificate. Called by the bindings; no Python here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/auction_state.hpp"
#include "core/auction_stats.hpp"
#include "core/parallel.hpp"
#include "core/priced_search.hpp"
#include "core/rows.hpp"

namespace gtn {

struct LatentShare;

struct OptimalInput {
  Rows latents;  // [m, dim], or those that are here
  Rows sources;  // [n, dim], n <= m
  bool center = false;
  const int64_t* source_groups = nullptr;  // [n] labels, or null for one group
  const int64_t* latent_groups = nullptr;  // [m]
  double tolerance = 0.0;
  int64_t depth = 64;   // latents that a source's list holds at first
  int64_t longest = 0;  // that it may hold; 0: no more than that
  // Rows of a group from which first prices come from a sample. Part of the contract: tests alone
  // ask for another.
  int64_t sample_from = 2048;
  int threads = 1;
  const ExactKernels* kernels = &exact_portable;
  const OptimalState* resumed = nullptr;  // of an earlier run over the same input
  const LatentShare* share = nullptr;     // null: all latents are here

  int64_t latent_count() const;  // m
};

struct OptimalOutput {
  int64_t* assignment;  // [n] latent row by source row
  double* cosine;       // [n] of source and latent, 0 where one of them is 0
  double* prices;       // [m] by latent row, in units of <source, latent>
};

struct OptimalStats {
  AuctionStats auction;
  double gap = 0.0;       // dual - primal of all groups, in units of <source, latent>
  double rounding = 0.0;  // by which that may be wrong, scores being rounded
  double epsilon = 0.0;   // the last one, of the groups of this run the largest
  int64_t distinct = 0;
  int threads = 1;
  double seconds = 0.0;
};

// Makes a backend's search over one group.
using PricedBackend = std::function<std::unique_ptr<PricedSearch>(
    const Scorer&, const ScoreGrid&, const DistinctLatents&, PriceView, Parallel&)>;

// Throws std::invalid_argument for undefined input. `placed` counts the sources that hold a latent.
// `snapshots`, if given, follows the run.
OptimalStats optimal_rows(const OptimalInput& input, const PricedBackend& backend,
                          const OptimalOutput& output, int64_t& placed, Poll poll,
                          Snapshots* snapshots = nullptr);

// For each source the latent of largest <source, latent> - price, ties by rank: the semi-discrete
// transport map of these prices [m]. Any number of sources; groups, tolerance and depth play no
// part.
void assign_rows(const OptimalInput& input, const double* prices, const PricedBackend& backend,
                 int64_t* assignment, int64_t& done, Poll poll);

}  // namespace gtn
