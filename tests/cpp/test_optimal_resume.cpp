// Optimal transport that stops and goes on: from the state at any search and any sale, also of a
// run that went on itself, to the pairs, prices, gap and counts of a run that nobody stopped.
// States that no run can have been in are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>

#include "core/exact_priced_scan.hpp"
#include "core/optimal.hpp"
#include "cpu/priced_tree.hpp"

namespace {

using gtn::OptimalState;

struct Stop final : std::exception {};

struct Problem {
  int64_t n, m, dim;
  double tolerance = 0.0;
  int64_t groups = 1;  // of rows in turn; the last has no source
  std::vector<float> latents, sources;
  std::vector<int64_t> latent_groups, source_groups;
  int64_t sample_from = 4096;
};

// Every fifth latent equals the one of its group before.
Problem problem(int64_t n, int64_t m, int64_t dim, double tolerance, int64_t groups) {
  std::mt19937 random(static_cast<unsigned>(n + 31 * m + 997 * dim));
  std::normal_distribution<float> normal;
  Problem p{n,
            m,
            dim,
            tolerance,
            groups,
            std::vector<float>(m * dim),
            std::vector<float>(n * dim),
            {},
            {},
            groups > 2 ? 8 : 4096};
  for (float& v : p.sources) v = normal(random);
  for (int64_t j = 0; j < m; ++j) {
    p.latent_groups.push_back(j % groups);
    for (int64_t k = 0; k < dim; ++k) {
      p.latents[j * dim + k] =
          j % 5 == 4 && j >= groups ? p.latents[(j - groups) * dim + k] : normal(random) + 0.5f;
    }
  }
  for (int64_t i = 0; i < n; ++i) p.source_groups.push_back(i % groups);
  return p;
}

// Calls `before` ahead of every search and after every sale.
class Watched final : public gtn::PricedSearch {
 public:
  Watched(std::unique_ptr<gtn::PricedSearch> search, const std::function<void()>& before)
      : search_(std::move(search)), before_(before) {}
  void search(std::span<const gtn::SourceRow> sources, std::span<const int64_t> before,
              int64_t depth, std::span<gtn::PricedList> lists) override {
    before_();
    search_->search(sources, before, depth, lists);
  }
  void raised(std::span<const gtn::LatentId> ids) override {
    before_();
    search_->raised(ids);
  }

 private:
  std::unique_ptr<gtn::PricedSearch> search_;
  const std::function<void()>& before_;
};

struct Solved {
  std::vector<int64_t> assignment;
  std::vector<double> cosine, prices;
  gtn::OptimalStats stats;
};

Solved solve(const Problem& p, const OptimalState* resumed, gtn::Snapshots& snapshots,
             const std::function<void()>& event, int64_t depth = 6) {
  gtn::OptimalInput in;
  in.latents = {.data = p.latents.data(), .count = p.m, .dim = p.dim};
  in.sources = {.data = p.sources.data(), .count = p.n, .dim = p.dim};
  if (p.groups > 1) {
    in.latent_groups = p.latent_groups.data();
    in.source_groups = p.source_groups.data();
  }
  in.tolerance = p.tolerance;
  in.depth = depth;
  in.resumed = resumed;
  in.sample_from = p.sample_from;
  const gtn::PricedBackend backend =
      [&](const gtn::Scorer& scorer, const gtn::ScoreGrid& grid,
          const gtn::DistinctLatents& distinct, gtn::PriceView prices,
          gtn::Parallel& parallel) -> std::unique_ptr<gtn::PricedSearch> {
    return std::make_unique<Watched>(
        std::make_unique<gtn::PricedTree>(scorer, grid, distinct, prices, gtn::tree_kernel_portable,
                                          parallel),
        event);
  };
  Solved s{
      std::vector<int64_t>(p.n, -7), std::vector<double>(p.n), std::vector<double>(p.m, -7.0), {}};
  int64_t placed = 0;
  s.stats = gtn::optimal_rows(in, backend, {s.assignment.data(), s.cosine.data(), s.prices.data()},
                              placed, {}, &snapshots);
  CHECK(placed == p.n);
  return s;
}

void check_same(const Solved& found, const Solved& expected) {
  CHECK(found.assignment == expected.assignment);
  CHECK(found.cosine == expected.cosine);
  CHECK(found.prices == expected.prices);
  CHECK(found.stats.gap == expected.stats.gap);
  CHECK(found.stats.rounding == expected.stats.rounding);
  CHECK(found.stats.distinct == expected.stats.distinct);
  CHECK(found.stats.auction.phases == expected.stats.auction.phases);
  CHECK(found.stats.auction.rounds == expected.stats.auction.rounds);
  CHECK(found.stats.auction.bids == expected.stats.auction.bids);
}

std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const double tolerance : {0.0, 1e-3, 1e-1}) {
    all.push_back(problem(60, 60, 3, tolerance, 1));
    all.push_back(problem(40, 60, 3, tolerance, 1));
    all.push_back(problem(60, 60, 2, tolerance, 3));
    all.push_back(problem(50, 80, 2, tolerance, 4));
    all.push_back(problem(61, 62, 1, tolerance, 3));  // some groups are sorted, some bid
  }
  all.push_back(problem(900, 900, 4, 0.0, 1));  // phases are cut
  return all;
}

const std::function<void()> kNothingHappens = [] {};

}  // namespace

TEST_CASE("optimal transport goes on from any search and any sale") {
  for (const Problem& p : problems()) {
    CAPTURE(p.n);
    CAPTURE(p.m);
    CAPTURE(p.dim);
    CAPTURE(p.tolerance);
    std::vector<OptimalState> states;
    gtn::Snapshots snapshots;
    const Solved expected =
        solve(p, nullptr, snapshots, [&] { states.push_back(snapshots.now()); });
    states.push_back(snapshots.now());
    CHECK(snapshots.steps() == states.back().steps());
    CHECK(states.back().epsilon == 0);
    REQUIRE(states.size() > 20);
    for (size_t i = 1; i < states.size(); ++i) CHECK(states[i - 1].steps() <= states[i].steps());
    const size_t step = 1 + states.size() / 60;
    for (size_t i = 0; i < states.size(); i += step) {
      CAPTURE(i);
      gtn::Snapshots again;
      check_same(solve(p, &states[i], again, kNothingHappens, i % 2 == 0 ? 2 : 64), expected);
    }
  }
}

TEST_CASE("optimal transport goes on after every of many errors") {
  for (const Problem& p : problems()) {
    CAPTURE(p.n);
    CAPTURE(p.m);
    CAPTURE(p.dim);
    gtn::Snapshots whole;
    int64_t events = 0;
    const Solved expected = solve(p, nullptr, whole, [&] { ++events; });
    std::mt19937 random(5);
    for (int story = 0; story < 3; ++story) {
      gtn::Snapshots snapshots;
      OptimalState state;
      bool resumed = false;
      for (int stops = 0;; ++stops) {
        REQUIRE(stops < 10000);
        // Searches for new lists come before the first sale, and with them the whole of a sample.
        const int64_t most = p.sample_from < p.n ? events : events / 10;
        int64_t left = 3 + static_cast<int64_t>(random() % (1 + most));
        try {
          const Solved found = solve(p, resumed ? &state : nullptr, snapshots, [&] {
            if (--left == 0) throw Stop();
          });
          check_same(found, expected);
          CHECK(stops > 0);
          break;
        } catch (const Stop&) {
          const OptimalState last = snapshots.now();
          CHECK(last.steps() == snapshots.steps());
          CHECK(last.steps() >= state.steps());
          state = last;
          resumed = true;
        }
      }
    }
  }
}

TEST_CASE("optimal transport refuses states that cannot be") {
  const Problem p = problem(50, 80, 2, 0.0, 4);
  OptimalState state;
  {
    gtn::Snapshots snapshots;
    int64_t left = 0;
    solve(p, nullptr, snapshots, [&] {
      const OptimalState now = snapshots.now();
      if (now.groups == 2 && now.epsilon > 0 && ++left == 20) state = now;
    });
  }
  REQUIRE(state.epsilon > 0);
  gtn::Snapshots snapshots;
  solve(p, &state, snapshots, kNothingHappens);
  int64_t free_row = -1, placed = -1, spare_row = -1, unplaced_later = -1;
  for (int64_t j = 0; j < p.m; ++j) {
    if (j % 4 == 2 && state.price[j] == gtn::kAtLevel) spare_row = j;
    if (j % 4 == 2 && state.price[j] != gtn::kAtLevel) free_row = j;
  }
  for (int64_t i = 0; i < p.n; ++i) {
    if (i % 4 == 2 && state.holds[i] >= 0) placed = i;
    if (i % 4 == 3) unplaced_later = i;
  }
  REQUIRE(std::min({free_row, placed, spare_row, unplaced_later}) >= 0);
  using Change = std::function<void(OptimalState&)>;
  const std::vector<Change> changes{
      [](OptimalState& s) { s.groups = -1; },
      [](OptimalState& s) { s.groups = 4; },
      [](OptimalState& s) { s.groups = 5; },
      [](OptimalState& s) { s.groups = 1; },
      [](OptimalState& s) { s.groups = 3; },
      [](OptimalState& s) { s.rounds = -1; },
      [](OptimalState& s) { s.bids = INT64_MAX; },
      [](OptimalState& s) { s.gap = std::nan(""); },
      [](OptimalState& s) { s.rounding = -1.0; },
      [](OptimalState& s) { s.epsilon = 0; },
      [](OptimalState& s) { s.epsilon = -1; },
      [](OptimalState& s) { s.epsilon = int64_t{1} << 59; },
      [](OptimalState& s) { s.phases_of_group = 0; },
      [](OptimalState& s) { s.bidders = -5; },
      [](OptimalState& s) { s.level = INT64_MAX; },
      [](OptimalState& s) { s.level = gtn::kLargestPrice; },
      [](OptimalState& s) { s.holds.pop_back(); },
      [](OptimalState& s) { s.price.push_back(0); },
      [](OptimalState& s) { s.prices.clear(); },
      [](OptimalState& s) { s.prices[3] = INFINITY; },
      [](OptimalState& s) { s.holds[0] = -1; },
      [](OptimalState& s) { s.holds[0] = s.holds[4]; },
      [](OptimalState& s) { s.holds[0] = 80; },
      [](OptimalState& s) { s.holds[0] = -2; },
      [](OptimalState& s) { s.holds[0] = s.holds[1]; },
      [&](OptimalState& s) { s.holds[unplaced_later] = 3; },
      [&](OptimalState& s) { s.holds[placed] = spare_row; },
      [&](OptimalState& s) { s.price[free_row] = -2; },
      [&](OptimalState& s) { s.price[free_row] = gtn::kLargestPrice + 1; },
      [&](OptimalState& s) {
        for (int64_t j = 2; j < p.m; j += 4) s.price[j] = gtn::kAtLevel;
        for (int64_t i = 2; i < p.n; i += 4) s.holds[i] = -1;
      },
  };
  for (size_t c = 0; c < changes.size(); ++c) {
    CAPTURE(c);
    OptimalState changed = state;
    changes[c](changed);
    gtn::Snapshots none;
    CHECK_THROWS_AS(solve(p, &changed, none, kNothingHappens), std::invalid_argument);
  }
  const Problem line = problem(60, 60, 1, 0.0, 1);
  OptimalState in_line;
  in_line.epsilon = in_line.phases_of_group = 1;
  in_line.holds.assign(60, -1);
  in_line.price.assign(60, 0);
  CHECK_THROWS_AS(solve(line, &in_line, snapshots, kNothingHappens), std::invalid_argument);
}

TEST_CASE("optimal transport survives any state that it does not refuse") {
  const Problem p = problem(50, 80, 2, 0.0, 4);
  std::vector<OptimalState> states;
  gtn::Snapshots snapshots;
  solve(p, nullptr, snapshots, [&] { states.push_back(snapshots.now()); });
  std::mt19937_64 random(7);
  const auto any = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  int refused = 0, ended = 0, stopped = 0;
  for (int trial = 0; trial < 600; ++trial) {
    OptimalState s = states[any(std::ssize(states))];
    const std::array<int64_t, 7> values{0, -1, 1, any(80), any(int64_t{1} << 60), INT64_MAX, -2};
    for (int64_t change = 1 + any(3); change > 0; --change) {
      const int64_t value = values[any(7)];
      const std::array counts{&s.groups, &s.epsilon, &s.phases_of_group, &s.bidders, &s.level};
      const int64_t what = any(10);
      if (what < 5) *counts[what] = value;
      if (what == 5 || what == 6) s.holds[any(p.n)] = value;
      if (what > 6 && !s.price.empty()) s.price[any(p.m)] = value;
    }
    int64_t left = 2000;
    try {
      gtn::Snapshots again;
      const Solved found = solve(p, &s, again, [&] {
        if (--left == 0) throw Stop();
      });
      std::vector<int64_t> taken = found.assignment;
      std::sort(taken.begin(), taken.end());
      CHECK(std::adjacent_find(taken.begin(), taken.end()) == taken.end());
      ++ended;
    } catch (const Stop&) {
      ++stopped;
    } catch (const std::invalid_argument&) {
      ++refused;
    } catch (const std::logic_error&) {  // prices left their range
      ++stopped;
    }
  }
  CHECK(refused > 100);
  CHECK(ended > 50);
}
