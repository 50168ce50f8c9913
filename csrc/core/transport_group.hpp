// One group of optimal transport as integers: ranks, the grid of scores, first prices and first
// epsilon.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/collective.hpp"
#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/parallel.hpp"
#include "core/problem.hpp"
#include "core/rows.hpp"
#include "core/score_grid.hpp"

namespace gtn {

// The latents of this machine among those of many.
struct LatentShare {
  Collective& ranks;
  std::span<const int64_t> rows;  // of all machines' latents, which are here; ascending
  int64_t total;
  const double* mean;  // of all latents
};

// The rows of all groups, with what is computed of them once. Latents go by their rows among those
// of all machines, but `latents` has only those that are here. Throws std::invalid_argument for
// rows that are not finite.
struct TransportRows {
  // share: null if all latents are here.
  TransportRows(const Rows& latents, const Rows& sources, bool center, const ExactKernels& kernels,
                const LatentShare* share, Parallel& parallel);

  // Of each row of this machine its value: of each latent of all machines.
  std::vector<double> of_all(std::vector<double> own) const;
  // The row in `latents`, -1 if the latent is elsewhere.
  int32_t here(LatentRow row) const { return share == nullptr ? row : here_[row]; }
  // True if all latents of a group are equal.
  bool all_equal(const std::vector<LatentRow>& group) const;

  Rows latents;  // less their mean
  Rows sources;
  bool center;
  const ExactKernels& kernels;
  const LatentShare* share;
  std::vector<double> mean, source_mean;
  // Squared norms: of latents less their mean, of sources, and of sources less theirs.
  std::vector<double> xx, yy, yy_centred;
  // Roots of xx, and of latents that are here by row of `latents`; empty if all are.
  std::vector<double> norms, norms_here;
  // Dot products of latents, less their mean, with that mean, and with the mean source.
  std::vector<double> by_mean, by_source_mean;
  std::vector<int32_t> classes;  // of equal latents of many machines (equal_rows.hpp)

 private:
  std::vector<int32_t> here_;
};

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

  // The ids whose rows are here, and their latents; null if all are.
  struct Own {
    std::vector<LatentId> ids;
    std::unique_ptr<const DistinctLatents> distinct;
  };
  // What this machine searches.
  const DistinctLatents& searched() const { return own ? *own->distinct : distinct; }

  Longest x, y;              // of latents less the mean, of sources
  Scorer scorer;             // with lengths for both sides
  DistinctLatents distinct;  // of all machines; rows among theirs
  std::unique_ptr<const Own> own;
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
