// One group of optimal transport as integers: ranks, the grid of scores, first prices and first
// epsilon.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/parallel.hpp"
#include "core/problem.hpp"
#include "core/rows.hpp"
#include "core/score_grid.hpp"

namespace gtn {

// The rows of all groups, with what is computed of them once. Throws std::invalid_argument for rows
// that are not finite.
struct TransportRows {
  TransportRows(const Rows& latents, const Rows& sources, bool center, const ExactKernels& kernels,
                Parallel& parallel);

  Rows latents;  // less their mean
  Rows sources;
  bool center;
  const ExactKernels& kernels;
  std::vector<double> mean, source_mean;
  // Squared norms: of latents less their mean, of sources, and of sources less theirs.
  std::vector<double> xx, yy, yy_centred;
};

// Squared norms by row; names rows that are not finite.
std::vector<double> squared_norms(const Rows& rows, Parallel& parallel);

// The largest root of some squares, and a power of two that is no less.
struct Longest {
  Longest(const std::vector<double>& squares, const std::vector<int32_t>& rows);
  double norm, length;
};

struct TransportGroup {
  TransportGroup(const TransportRows& rows, const GroupRows& group, Parallel& parallel);
  TransportGroup(const TransportGroup&) = delete;
  TransportGroup& operator=(const TransportGroup&) = delete;
  // For a group in which every latent is taken.
  void set_first_prices(std::vector<int64_t> prices);

  Longest x, y;               // of latents less the mean, of sources
  Scorer scorer;              // with lengths for both sides
  std::vector<double> norms;  // of latents less the mean, by row; 0 outside the group
  DistinctLatents distinct;
  std::vector<double> firsts;  // what latents cost before any bid, by id
  ScoreGrid grid;
  std::vector<int64_t> first_prices;  // the same on the grid, less the least
  int64_t epsilon = 1;                // of the first phase
  // What the cost on the grid would be without the sum of scores less first prices.
  double moment = 0.0;
  double scale = 0.0;  // the part of it that does not depend on first prices
  double cost = 0.0;   // the cost as it is likely to be
  int64_t cut_phases = 6;
  // By which the gap may be wrong, as scores are rounded.
  double rounding = 0.0;
};

}  // namespace gtn
