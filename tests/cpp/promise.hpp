// The promise of the Shortlist interface, checked against exact scores: every free latent that is
// not listed scores below `outside`, every listed one within its bounds, removed ones never appear.
#pragma once

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "core/free_latents.hpp"
#include "core/norms.hpp"
#include "core/shortlist.hpp"
#include "reference.hpp"

namespace promise {

using reference::Data;
using reference::Kind;

struct Bench {
  Data x, y;
  gtn::Parallel parallel{3};
  std::vector<double> mean;  // to be subtracted from the latents; empty for none
  std::vector<double> xn, yn;
  gtn::Scorer scorer;
  gtn::DistinctLatents distinct;
  gtn::FreeLatents free;

  Bench(Kind kind, int64_t n, int64_t dim)
      : Bench(reference::make(kind, n, dim, 11), reference::make(Kind::gaussian, 20, dim, 12),
              false) {}

  Bench(Data latents, Data twenty_sources, bool center)
      : x(std::move(latents)),
        y(std::move(twenty_sources)),
        mean(center ? gtn::column_mean(x.rows("latents"), parallel) : std::vector<double>()),
        xn(gtn::checked_norms(latent_rows(), parallel)),
        yn(gtn::checked_norms(y.rows("sources"), parallel)),
        scorer(latent_rows(), y.rows("sources")),
        distinct(scorer, reference::all_rows(x.n), xn, parallel),
        free(distinct) {}

  gtn::Rows latent_rows() const {
    gtn::Rows rows = x.rows("latents");
    if (!mean.empty()) rows.mean = mean.data();
    return rows;
  }

  // Takes every `stride`-th id from `first` on; returns those.
  std::vector<int32_t> take(int32_t first, int32_t stride) {
    std::vector<int32_t> exhausted;
    for (int32_t id = first; id < distinct.count(); id += stride) {
      if (!free.is_free(id)) continue;
      while (free.is_free(id)) free.take(id);
      exhausted.push_back(id);
    }
    return exhausted;
  }

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
          broken += score > c->upper || score < c->lower;
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

}  // namespace promise
