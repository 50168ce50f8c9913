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
#include "core/problem.hpp"
#include "core/run_state.hpp"
#include "core/stats.hpp"

namespace gtn {
namespace {

// In blocks of 1,024 rows, as the contract's column mean.
template <class ValueAt>
double block_sum(int64_t count, ValueAt value_at) {
  constexpr int64_t kBlock = 1024;
  double total = 0.0;
  for (int64_t from = 0; from < count; from += kBlock) {
    double part = 0.0;
    for (int64_t i = from; i < std::min(from + kBlock, count); ++i) part += value_at(i);
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

// The largest root of some squares, and a power of two that is no less.
struct Longest {
  Longest(const std::vector<double>& squares, std::span<const int32_t> rows) {
    double most = 0.0;
    for (const int32_t row : rows) most = std::max(most, squares[row]);
    norm = std::sqrt(most);
    int e;
    std::frexp(norm, &e);
    length = norm > 0.0 ? std::ldexp(1.0, e) : 1.0;
  }
  double norm, length;
};

class Transport {
 public:
  Transport(const OptimalInput& in, const PricedBackend& backend, const OptimalOutput& out,
            int64_t& placed, Poll poll, Snapshots* snapshots)
      : in_(in),
        backend_(backend),
        out_(out),
        placed_(placed),
        parallel_(in.threads, poll),
        state_(in, out, stats_, snapshots) {}

  OptimalStats run();

 private:
  void solve(const GroupRows& group);
  void set_cosines();
  void solve_line(const GroupRows& group);
  double distances_to_mean(const GroupRows& group) const;

  const OptimalInput& in_;
  const PricedBackend& backend_;
  const OptimalOutput& out_;
  int64_t& placed_;
  Parallel parallel_;
  OptimalStats stats_;
  RunState state_;
  std::vector<GroupRows> groups_;
  // Squared norms: of latents less their mean, of sources, and of sources less theirs.
  std::vector<double> xx_, yy_, yy_centred_;
  std::vector<double> mean_, source_mean_;
  Rows latents_;
};

OptimalStats Transport::run() {
  {
    PhaseTimer timer(stats_.seconds);
    stats_.threads = parallel_.threads();
    mean_ = column_mean(in_.latents, parallel_);
    latents_ = in_.latents;
    latents_.mean = mean_.data();
    xx_ = squared_norms(latents_, parallel_);
    yy_ = squared_norms(in_.sources, parallel_);
    source_mean_ = column_mean(in_.sources, parallel_);
    Rows centred = in_.sources;
    centred.mean = source_mean_.data();
    yy_centred_ = squared_norms(centred, parallel_);
    MatchInput groups;
    groups.latents = in_.latents;
    groups.sources = in_.sources;
    groups.source_groups = in_.source_groups;
    groups.latent_groups = in_.latent_groups;
    groups_ = rows_of_groups(groups);
    std::fill(out_.prices, out_.prices + in_.latents.count, 0.0);  // of groups without sources
    const int64_t first = state_.begin(groups_);
    placed_ = state_.held();
    try {
      for (int64_t g = first; g < std::ssize(groups_); ++g) {
        solve(groups_[g]);
        state_.solved();
      }
      set_cosines();
    } catch (...) {
      state_.end();
      throw;
    }
    state_.end();
  }
  return stats_;
}

void Transport::set_cosines() {
  Rows latents = in_.latents;
  if (in_.center) latents.mean = mean_.data();
  const Scorer scorer(latents, in_.sources, *in_.kernels);
  parallel_.run(in_.sources.count, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t j = out_.assignment[i];
      const double x = std::sqrt(squared_norm(latents, j)), y = std::sqrt(yy_[i]);
      out_.cosine[i] = x > 0.0 && y > 0.0 ? scorer.score(j, x, static_cast<SourceRow>(i)) / y : 0.0;
    }
  });
}

// Sum of the squared distances of the sources to the mean of the latents, or to 0 if that is the
// mean of what they take.
double Transport::distances_to_mean(const GroupRows& group) const {
  std::vector<double> row(in_.sources.dim);
  return block_sum(std::ssize(group.sources), [&](int64_t i) {
    const SourceRow source = group.sources[i];
    if (in_.center) return yy_[source];
    widen_row(in_.sources, source, row.data());
    double sum = 0.0;
    for (size_t k = 0; k < row.size(); ++k) sum += (row[k] - mean_[k]) * (row[k] - mean_[k]);
    return sum;
  });
}

// One dimension: both sides sorted, ties by row. A price's difference to the next is the distance
// of the latents times the mean of their sources, between which the next is the better one.
void Transport::solve_line(const GroupRows& group) {
  const auto sorted = [](const Rows& rows, std::vector<int32_t> which) {
    std::vector<std::pair<double, int32_t>> pairs;
    for (const int32_t row : which) {
      double value;
      widen_row(rows, row, &value);
      pairs.emplace_back(value, row);
    }
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  };
  const auto x = sorted(latents_, group.latents), y = sorted(in_.sources, group.sources);
  double price = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i > 0) {
      const double rate = 0.5 * (y[i - 1].first + y[i].first);
      price += rate * (x[i].first - x[i - 1].first);
      const double size = std::fabs(rate) * (x[i].first - x[i - 1].first);
      stats_.rounding += (std::fabs(price) + size) * 0x1p-50 * static_cast<double>(x.size());
    }
    out_.assignment[y[i].second] = x[i].second;
    out_.prices[x[i].second] = price;
  }
  placed_ += std::ssize(group.sources);
  stats_.distinct += std::ssize(group.latents);
}

void Transport::solve(const GroupRows& group) {
  const int64_t n = std::ssize(group.sources), m = std::ssize(group.latents);
  if (in_.latents.dim == 1 && n == m) return solve_line(group);
  const Longest x(xx_, group.latents), y(yy_, group.sources);
  Rows latents = latents_, sources = in_.sources;
  latents.length = x.length;
  sources.length = y.length;
  const Scorer scorer(latents, sources, *in_.kernels);

  std::vector<double> norms(xx_.size());
  for (const LatentRow row : group.latents) norms[row] = std::sqrt(xx_[row]);
  std::vector<LatentRow> by_rank = sorted_by_norm(group.latents, norms, false, parallel_);
  const auto distinct = n == m
                            ? std::make_unique<DistinctLatents>(scorer, by_rank, norms, parallel_)
                            : std::make_unique<DistinctLatents>(by_rank, norms);
  // First prices. Where latents are left over, a latent costs half its squared norm. Elsewhere any
  // prices will do, and these leave of the scores what they are with centred sources.
  const std::vector<double>& shift = n < m ? mean_ : source_mean_;
  Rows shift_row = in_.latents;
  shift_row.data = shift.data();
  shift_row.dtype = DType::f64;
  shift_row.count = 1;
  const Scorer with_shift(latents, shift_row, *in_.kernels);
  std::vector<double> firsts(distinct->count());
  double largest_first = 0.0;
  for (LatentId id = 0; id < distinct->count(); ++id) {
    const LatentRow row = distinct->row(id);
    const bool shifted = n == m || !in_.center;
    firsts[id] = (n < m ? 0.5 * xx_[row] : 0.0) + (shifted ? with_shift.score(row, 1.0, 0) : 0.0);
    largest_first = std::max(largest_first, std::fabs(firsts[id]));
  }
  const ScoreGrid grid(std::max(x.norm * y.norm, 2.0 * largest_first), m);
  std::vector<int64_t> start(firsts.size());
  for (LatentId id = 0; id < distinct->count(); ++id) start[id] = grid.of(firsts[id]);
  const int64_t least = *std::min_element(start.begin(), start.end());
  for (int64_t& price : start) price -= least;

  const double spread =
      std::sqrt(block_sum(m, [&](int64_t j) { return xx_[group.latents[j]]; }) /
                static_cast<double>(m)) *
      std::sqrt(block_sum(n, [&](int64_t i) { return yy_centred_[group.sources[i]]; }) /
                static_cast<double>(n));
  const auto on_grid = [&](double v) { return std::ldexp(v, grid.exponent()); };
  // Where latents are left over, prices go as far as first prices are apart.
  double wide = spread;
  if (n < m) {
    const double middle =
        block_sum(m, [&](int64_t j) { return firsts[j]; }) / static_cast<double>(m);
    wide = std::max(wide, block_sum(m, [&](int64_t j) { return std::fabs(firsts[j] - middle); }) /
                              static_cast<double>(m));
  }
  const auto first =
      static_cast<int64_t>(std::floor(on_grid(wide / static_cast<double>(in_.latents.dim))));
  // What the cost would be without the sum of scores: of both sides brought to one variance, or
  // half the squared distances to the mean where latents are left over.
  const double constant =
      (n < m ? 0.5 * distances_to_mean(group) : spread * static_cast<double>(n)) +
      static_cast<double>(n) * grid.real(least);
  const double moment = on_grid(constant) * static_cast<double>(grid.factor());

  const int64_t first_epsilon = std::max<int64_t>(1, first) * grid.factor();
  Prices prices(*distinct, std::move(start));
  state_.restore(group, *distinct, prices, first_epsilon);
  ExactPricedScan exact(scorer, grid, *distinct, prices, parallel_);
  const auto search = backend_(scorer, grid, *distinct, prices, parallel_);
  Auction auction(scorer, grid, *distinct, group.sources, prices, *search, exact, in_.depth,
                  parallel_, stats_.auction);
  const int64_t before = state_.placed();
  state_.follow(group, *distinct, auction, [&] {
    auction.run(first_epsilon, in_.tolerance, moment, [&](int64_t now) { placed_ = before + now; });
  });
  for (LatentId id = 0; id < distinct->count(); ++id) {
    prices.owners(id, [&](Rank rank, int32_t owner) {
      const LatentRow row = distinct->row_of_rank(rank);
      out_.prices[row] = grid.real(prices.of(id));
      if (owner >= 0) out_.assignment[group.sources[owner]] = row;
    });
  }
  placed_ = before + n;
  const double unit = std::ldexp(1.0, -grid.exponent());
  const double factor = static_cast<double>(grid.factor());
  stats_.gap += auction.gap() / factor * unit;
  // Of each score and each price: half a step of the grid, and the rounding of a dot product.
  stats_.rounding += 2.0 * static_cast<double>(n) *
                     (unit + rounding_slack(in_.latents.dim) * (x.norm * y.norm + largest_first));
  stats_.distinct += distinct->count();
}

// Sources for which lists are kept at a time.
constexpr int64_t kAssigned = 1 << 16;

}  // namespace

void assign_rows(const OptimalInput& in, const double* prices_given, const PricedBackend& backend,
                 int64_t* assignment, int64_t& done, Poll poll) {
  const DefaultFloatMode mode;
  Parallel parallel(in.threads, poll);
  const std::vector<double> mean = column_mean(in.latents, parallel);
  Rows latents = in.latents, sources = in.sources;
  latents.mean = mean.data();
  const std::vector<double> xx = squared_norms(latents, parallel);
  const std::vector<double> yy = squared_norms(sources, parallel);
  std::vector<int32_t> rows(latents.count), all(sources.count);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(all.begin(), all.end(), 0);
  const Longest x(xx, rows), y(yy, all);
  latents.length = x.length;
  sources.length = y.length;
  const Scorer scorer(latents, sources, *in.kernels);
  std::vector<double> norms(xx.size());
  for (size_t j = 0; j < norms.size(); ++j) norms[j] = std::sqrt(xx[j]);
  const DistinctLatents distinct(sorted_by_norm(rows, norms, false, parallel), norms);
  const auto [least, most] = std::minmax_element(prices_given, prices_given + latents.count);
  const ScoreGrid grid(std::max(x.norm * y.norm, *most - *least), 1);
  std::vector<int64_t> start(distinct.count());
  for (LatentId id = 0; id < distinct.count(); ++id) {
    start[id] = grid.of(prices_given[distinct.row(id)] - *least);
  }
  Prices prices(distinct, std::move(start));
  ExactPricedScan exact(scorer, grid, distinct, prices, parallel);
  const auto search = backend(scorer, grid, distinct, prices, parallel);
  AuctionStats stats;
  for (int64_t from = 0; from < sources.count; from += kAssigned) {
    const auto some =
        std::span<const int32_t>(all).subspan(from, std::min(kAssigned, sources.count - from));
    Auction auction(scorer, grid, distinct, some, prices, *search, exact, 8, parallel, stats);
    const std::vector<LatentId> best = auction.favourites();
    for (size_t i = 0; i < best.size(); ++i) assignment[from + i] = distinct.row(best[i]);
    done = from + std::ssize(some);
  }
}

OptimalStats optimal_rows(const OptimalInput& input, const PricedBackend& backend,
                          const OptimalOutput& output, int64_t& placed, Poll poll,
                          Snapshots* snapshots) {
  const DefaultFloatMode mode;
  return Transport(input, backend, output, placed, poll, snapshots).run();
}

}  // namespace gtn
