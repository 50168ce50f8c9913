#include "core/optimal.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/first_prices.hpp"
#include "core/float_mode.hpp"
#include "core/group_chooser.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "core/run_state.hpp"
#include "core/stats.hpp"
#include "core/transport_group.hpp"

namespace gtn {
namespace {

bool all_equal(const Rows& rows, const std::vector<int32_t>& which) {
  std::vector<double> first(rows.dim), row(rows.dim);
  widen_row(rows, which.front(), first.data());
  return std::ranges::all_of(which, [&](int32_t r) {
    widen_row(rows, r, row.data());
    return row == first;
  });
}

// In one dimension: of each row its value.
std::vector<double> values_of(const Rows& rows) {
  std::vector<double> values(rows.count);
  for (int64_t row = 0; row < rows.count; ++row) widen_row(rows, row, &values[row]);
  return values;
}

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
  void solve(const TransportRows& rows, const GroupRows& group);
  void solve_line(const TransportRows& rows, const GroupRows& group);
  void set_cosines(const TransportRows& rows);
  bool all_cost_the_same(const TransportRows& rows, const GroupRows& group) const;

  const OptimalInput& in_;
  const PricedBackend& backend_;
  const OptimalOutput& out_;
  int64_t& placed_;
  Parallel parallel_;
  OptimalStats stats_;
  RunState state_;
  std::vector<GroupRows> groups_;
  std::vector<double> x_, y_;  // in one dimension: latents less their mean, sources
};

OptimalStats Transport::run() {
  {
    PhaseTimer timer(stats_.seconds);
    stats_.threads = parallel_.threads();
    const TransportRows rows(in_.latents, in_.sources, in_.center, *in_.kernels, in_.share,
                             parallel_);
    MatchInput groups;
    groups.latents.count = in_.latent_count();
    groups.sources.count = in_.sources.count;
    groups.source_groups = in_.source_groups;
    groups.latent_groups = in_.latent_groups;
    groups_ = rows_of_groups(groups);
    std::fill(out_.prices, out_.prices + in_.latent_count(), 0.0);  // of groups without sources
    if (in_.latents.dim == 1) {
      x_ = rows.of_all(values_of(rows.latents));
      y_ = values_of(in_.sources);
    }
    const int64_t first = state_.begin(groups_);
    placed_ = state_.held();
    try {
      for (int64_t g = first; g < std::ssize(groups_); ++g) {
        const GroupRows& group = groups_[g];
        const bool line = in_.latents.dim == 1 && group.sources.size() == group.latents.size();
        line ? solve_line(rows, group) : solve(rows, group);
        state_.solved();
      }
      set_cosines(rows);
    } catch (...) {
      state_.end();
      throw;
    }
    state_.end();
  }
  return stats_;
}

void Transport::set_cosines(const TransportRows& rows) {
  Rows latents = in_.latents;
  if (in_.center) latents.mean = rows.mean.data();
  const Scorer scorer(latents, in_.sources, *in_.kernels);
  parallel_.run(in_.sources.count, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t j = rows.here(static_cast<LatentRow>(out_.assignment[i]));
      if (j < 0) continue;
      const double x = std::sqrt(squared_norm(latents, j)), y = std::sqrt(rows.yy[i]);
      out_.cosine[i] = x > 0.0 && y > 0.0 ? scorer.score(j, x, static_cast<SourceRow>(i)) / y : 0.0;
    }
  });
  if (rows.share == nullptr) return;
  std::vector<int64_t> own;
  std::vector<double> cosines, all(in_.sources.count);
  for (int64_t i = 0; i < in_.sources.count; ++i) {
    if (rows.here(static_cast<LatentRow>(out_.assignment[i])) < 0) continue;
    own.push_back(i);
    cosines.push_back(out_.cosine[i]);
  }
  rows.share->ranks.place<double>(own, cosines, all);
  std::copy(all.begin(), all.end(), out_.cosine);
  rows.share->ranks.agree();
}

// Where all rows of a side are equal, and as many as on the other side, every assignment costs the
// same. The gap is 0 then, which needs no prices and has no rounding.
bool Transport::all_cost_the_same(const TransportRows& rows, const GroupRows& group) const {
  return group.sources.size() == group.latents.size() &&
         (rows.all_equal(group.latents) || all_equal(in_.sources, group.sources));
}

// One dimension: both sides sorted, ties by row. A price's difference to the next is the distance
// of the latents times the mean of their sources, between which the next is the better one.
void Transport::solve_line(const TransportRows& transport, const GroupRows& group) {
  const auto sorted = [](const std::vector<double>& of, const std::vector<int32_t>& which) {
    std::vector<std::pair<double, int32_t>> pairs;
    for (const int32_t row : which) pairs.emplace_back(of[row], row);
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  };
  const auto x = sorted(x_, group.latents), y = sorted(y_, group.sources);
  const bool exact = all_cost_the_same(transport, group);
  double price = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i > 0) {
      const double rate = 0.5 * (y[i - 1].first + y[i].first);
      price += rate * (x[i].first - x[i - 1].first);
      const double size = std::fabs(rate) * (x[i].first - x[i - 1].first);
      if (!exact) {
        stats_.rounding += (std::fabs(price) + size) * 0x1p-50 * static_cast<double>(x.size());
      }
    }
    out_.assignment[y[i].second] = x[i].second;
    out_.prices[x[i].second] = price;
  }
  placed_ += std::ssize(group.sources);
  stats_.distinct += std::ssize(group.latents);
}

void Transport::solve(const TransportRows& rows, const GroupRows& group) {
  TransportGroup integers(rows, group, parallel_);
  sample_first_prices(rows, group, integers, backend_, in_.depth, in_.sample_from, parallel_,
                      stats_.auction, state_.sampling());
  const DistinctLatents& distinct = integers.distinct;
  const ScoreGrid& grid = integers.grid;
  Prices prices(distinct, std::move(integers.first_prices));
  state_.restore(group, distinct, prices, integers.epsilon);
  GroupChooser chooser(rows, integers, group.sources, prices, backend_, in_.depth,
                       std::max(in_.depth, in_.longest), parallel_, stats_.auction);
  Auction auction(distinct, std::ssize(group.sources), prices, chooser.chooser(), parallel_,
                  stats_.auction);
  const int64_t before = state_.placed();
  state_.follow(group, distinct, auction, [&] {
    auction.run(integers.epsilon,
                {in_.tolerance, integers.moment, integers.cost, integers.cut_phases},
                [&](int64_t now) { placed_ = before + now; });
  });
  for (LatentId id = 0; id < distinct.count(); ++id) {
    prices.owners(id, [&](Rank rank, int32_t owner) {
      const LatentRow row = distinct.row_of_rank(rank);
      out_.prices[row] = grid.real(prices.of(id));
      if (owner >= 0) out_.assignment[group.sources[owner]] = row;
    });
  }
  placed_ = before + std::ssize(group.sources);
  stats_.epsilon = std::max(stats_.epsilon, grid.real(auction.epsilon()));
  if (!all_cost_the_same(rows, group)) {
    const double factor = static_cast<double>(grid.factor());
    stats_.gap += std::ldexp(auction.gap() / factor, -grid.exponent());
    stats_.rounding += integers.rounding;
  }
  stats_.distinct += distinct.count();
}

}  // namespace

int64_t OptimalInput::latent_count() const {
  return share == nullptr ? latents.count : share->total;
}

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
  AuctionStats stats;
  for_each_favourite(scorer, grid, distinct, prices, backend, parallel, stats,
                     [&](SourceRow source, LatentId id, int64_t) {
                       assignment[source] = distinct.row(id);
                       done = source + 1;
                     });
}

OptimalStats optimal_rows(const OptimalInput& input, const PricedBackend& backend,
                          const OptimalOutput& output, int64_t& placed, Poll poll,
                          Snapshots* snapshots) {
  const DefaultFloatMode mode;
  return Transport(input, backend, output, placed, poll, snapshots).run();
}

}  // namespace gtn
