// Both shortlists keep the interface's promise: every free latent that is not listed scores below
// `outside`, every listed one at most its bound, removed ones never appear.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <string>

#include "core/decide.hpp"
#include "core/exact_scan.hpp"
#include "core/norms.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/shortlist_cpu.hpp"
#include "reference.hpp"

using reference::Data;
using reference::Kind;

namespace {

struct Bench {
  Data x, y;
  gtn::Parallel parallel{3};
  std::vector<double> xn, yn;
  gtn::Scorer scorer;
  gtn::DistinctLatents distinct;
  gtn::FreeLatents free;

  static std::vector<int32_t> rows(int64_t n) {
    std::vector<int32_t> r(static_cast<size_t>(n));
    std::iota(r.begin(), r.end(), 0);
    return r;
  }
  Bench(Kind kind, int64_t n, int64_t dim)
      : x(reference::make(kind, n, dim, 11)),
        y(reference::make(Kind::gaussian, 20, dim, 12)),
        xn(gtn::checked_norms(x.rows("latents"), parallel)),
        yn(gtn::checked_norms(y.rows("sources"), parallel)),
        scorer(x.rows("latents"), y.rows("sources")),
        distinct(scorer, rows(n), xn, parallel),
        free(distinct) {}

  void check(gtn::Shortlist& shortlist, int64_t depth, double floor_share, bool guess) {
    std::vector<gtn::Query> queries;
    for (int32_t j = 0; j < 20; ++j) {
      const double norm = yn[static_cast<size_t>(j)];
      queries.push_back({j, norm, floor_share > -1.0 ? floor_share * norm : -gtn::kInfinity});
    }
    std::vector<gtn::CandidateList> lists(20);
    shortlist.search(queries, depth, guess, lists);
    for (int32_t j = 0; j < 20; ++j) {
      const auto& list = lists[static_cast<size_t>(j)];
      std::vector<const gtn::Candidate*> listed(static_cast<size_t>(distinct.count()), nullptr);
      for (const auto& c : list.items) {
        REQUIRE(c.id >= 0);
        REQUIRE(listed[static_cast<size_t>(c.id)] == nullptr);
        REQUIRE(free.is_free(c.id));
        listed[static_cast<size_t>(c.id)] = &c;
      }
      // Counted, not checked one by one: assertions cost more than what they assert.
      int64_t broken = 0;
      for (int32_t id = 0; id < distinct.count(); ++id) {
        if (!free.is_free(id)) continue;
        const double score = scorer.score(distinct.row(id), distinct.norm(id), j);
        if (const auto* c = listed[static_cast<size_t>(id)]) {
          broken += score > c->upper;
        } else {
          const bool promised =
              score < list.outside || (score == list.outside && free.rank(id) > list.outside_rank);
          broken += !promised;
        }
      }
      CHECK(broken == 0);
    }
  }
};

}  // namespace

TEST_CASE("shortlists keep their promise") {
  for (const auto& info : gtn::list_kernels()) {
    if (!info.supported) continue;
    const gtn::Kernel& kernel = gtn::select_kernel(info.name);
    for (const Kind kind : reference::kKinds) {
      for (const int64_t dim : {1, 3, 40}) {
        Bench b(kind, 2200, dim);
        gtn::CpuShortlist cpu(b.scorer, b.free, kernel, dim != 3, b.parallel);
        gtn::ExactScan exact(b.scorer, b.free, b.parallel);
        for (int round = 0; round < 2; ++round) {
          const int64_t depth = round == 0 ? 1 : 20;
          b.check(cpu, depth, -2.0, true);  // in the first round there is no guess yet
          b.check(cpu, depth, 0.1, false);
          b.check(exact, depth, -2.0, false);
          b.check(exact, depth, 0.1, false);
          std::vector<int32_t> exhausted;
          for (int32_t id = round; id < b.distinct.count(); id += 4) {
            while (b.free.is_free(id)) b.free.take(id);
            exhausted.push_back(id);
          }
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
  const auto decide = [&](std::vector<gtn::Candidate> items, double outside, int32_t rank = -1) {
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
