#include "core/optimal.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "core/exact_priced_scan.hpp"
#include "core/float_mode.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "core/stats.hpp"

namespace gtn {
namespace {

// In blocks of 1,024 rows, as the contract's column mean.
double block_sum(const std::vector<double>& values) {
  constexpr size_t kBlock = 1024;
  double total = 0.0;
  for (size_t from = 0; from < values.size(); from += kBlock) {
    double part = 0.0;
    for (size_t i = from; i < std::min(from + kBlock, values.size()); ++i) part += values[i];
    total += part;
  }
  return total;
}

std::vector<double> squared_norms(const Rows& rows, Parallel& parallel) {
  std::vector<double> squares(rows.count);
  parallel.run(rows.count, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) squares[i] = squared_norm(rows, i);
  });
  for (const double s : squares) {
    if (!(s <= DBL_MAX)) {
      checked_norms(rows, parallel);  // names them
      throw std::logic_error("a squared norm is not finite");
    }
  }
  return squares;
}

}  // namespace

OptimalStats optimal_rows(const OptimalInput& in, const PricedBackend& backend,
                          const OptimalOutput& out, int64_t& placed, Poll poll) {
  const DefaultFloatMode mode;
  OptimalStats stats;
  Parallel parallel(in.threads, poll);
  PhaseTimer timer(stats.seconds);
  Rows latents = in.latents;
  const std::vector<double> mean = column_mean(in.latents, parallel);
  latents.mean = mean.data();
  const std::vector<double> xx = squared_norms(latents, parallel);
  const std::vector<double> yy = squared_norms(in.sources, parallel);
  const int64_t n = in.sources.count, m = in.latents.count;
  const double largest = std::sqrt(*std::max_element(xx.begin(), xx.end())) *
                         std::sqrt(*std::max_element(yy.begin(), yy.end()));
  const ScoreGrid grid(largest, m);
  const double spread = std::sqrt(block_sum(xx) / static_cast<double>(m)) *
                        std::sqrt(block_sum(yy) / static_cast<double>(n));
  const double first =
      std::floor(std::ldexp(spread / static_cast<double>(in.latents.dim), grid.exponent()));
  const int64_t epsilon = std::max<int64_t>(1, static_cast<int64_t>(first)) * grid.factor();
  const double moment = std::ldexp(spread * static_cast<double>(n), grid.exponent()) *
                        static_cast<double>(grid.factor());

  // Powers of two: divisions by them round nothing.
  const auto length_of = [](const std::vector<double>& squares) {
    int e;
    std::frexp(std::sqrt(*std::max_element(squares.begin(), squares.end())), &e);
    return std::ldexp(1.0, e);
  };
  latents.length = length_of(xx);
  Rows given = in.sources;
  given.length = length_of(yy);
  const Scorer scorer(latents, given, *in.kernels);
  std::vector<double> norms(xx.size());
  for (size_t i = 0; i < xx.size(); ++i) norms[i] = std::sqrt(xx[i]);
  std::vector<int32_t> rows(m), sources(n);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(sources.begin(), sources.end(), 0);
  const DistinctLatents distinct(scorer, sorted_by_norm(rows, norms, false, parallel), norms,
                                 parallel);
  Prices prices(distinct);
  ExactPricedScan exact(scorer, grid, distinct, prices, parallel);
  const auto search = backend(scorer, grid, distinct, prices, parallel);
  Auction auction(scorer, grid, distinct, sources, prices, *search, exact, in.depth, parallel,
                  stats.auction);
  auction.run(epsilon, in.tolerance, moment, [&](int64_t now) { placed = now; });
  for (LatentId id = 0; id < distinct.count(); ++id) {
    prices.owners(id, [&](Rank rank, int32_t owner) {
      const LatentRow row = distinct.row_of_rank(rank);
      out.prices[row] = grid.real(prices.of(id));
      if (owner >= 0) out.assignment[sources[owner]] = row;
    });
  }
  stats.primal = auction.primal();
  stats.gap = auction.gap();
  stats.unit = grid.real(grid.factor());
  stats.exponent = grid.exponent();
  stats.distinct = distinct.count();
  return stats;
}

}  // namespace gtn
