// The shortlists that scan keep the interface's promise, and decisions rest on it.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/decide.hpp"
#include "core/exact_scan.hpp"
#include "cpu/shortlist_cpu.hpp"
#include "promise.hpp"
#include "sets_to_test.hpp"

using promise::Bench;
using reference::Kind;

TEST_CASE("shortlists keep their promise") {
  for (const gtn::InstructionSet& set : sets_to_test()) {
    CAPTURE(std::string(set.name));
    for (const Kind kind : reference::kKinds) {
      for (const int64_t dim : {1, 3, 40}) {
        Bench b(kind, 2200, dim);
        gtn::CpuShortlist cpu(b.scorer, b.free, set.scan, dim != 3, b.parallel);
        gtn::ExactScan exact(b.scorer, b.free, b.parallel);
        for (int round = 0; round < 2; ++round) {
          const int64_t depth = round == 0 ? 1 : 20;
          b.check(cpu, depth, -2.0, true);  // in the first round there is no guess yet
          b.check(cpu, depth, 0.1, false);
          b.check(exact, depth, -2.0, false);
          b.check(exact, depth, 0.1, false);
          const std::vector<int32_t> exhausted = b.take(round, 4);
          cpu.remove(exhausted);
          exact.remove(exhausted);
        }
      }
    }
  }
}

TEST_CASE("a decision is certified only against everything that is not listed") {
  Bench b(Kind::gaussian, 300, 4);
  std::vector<std::pair<double, int32_t>> ranked;
  for (int32_t id = 0; id < 300; ++id) {
    ranked.emplace_back(-b.scorer.score(b.distinct.row(id), b.distinct.norm(id), 0), id);
  }
  std::sort(ranked.begin(), ranked.end());
  const double best = -ranked[0].first, second = -ranked[1].first;
  int64_t rescored = 0;
  const auto decide = [&](std::vector<gtn::Candidate> items, double outside, gtn::Rank rank = {}) {
    gtn::CandidateList list{std::move(items), outside, rank};
    return gtn::decide(b.scorer, b.free, 0, 1, list, rescored);
  };
  const int32_t first_id = ranked[0].second, second_id = ranked[1].second;
  gtn::Decision d = decide({{second_id, second + 1.0}, {first_id, best + 0.5}}, second);
  CHECK(d.id == first_id);
  CHECK(d.score == best);
  CHECK(d.certified);
  CHECK_FALSE(decide({{first_id, best}}, best).certified);  // an unlisted one may tie
  CHECK(decide({{first_id, best}}, best, b.free.rank(first_id)).certified);  // and ranks behind
  CHECK_FALSE(decide({{second_id, second}}, best).certified);
  CHECK_FALSE(decide({}, -gtn::kInfinity).certified);
  rescored = 0;  // bounds below the best score need no exact score
  d = decide({{first_id, best}, {second_id, second}, {ranked[2].second, second}}, second);
  CHECK(d.certified);
  CHECK(rescored == 1);
}
