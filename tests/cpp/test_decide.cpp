// Decisions against the contract's rules 3 and 4 read literally, while latents go: lists with upper
// bounds only, with both bounds, with exact scores, whole and cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "core/decide.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "reference.hpp"

using reference::Data;
using reference::Kind;

namespace {

enum class Bounds { upper, both, exact, mixed };

struct Scene {
  Data x, y;
  gtn::Parallel parallel{1};
  std::vector<double> norms;
  gtn::Scorer scorer;
  gtn::DistinctLatents distinct;
  gtn::FreeLatents free;

  Scene(Kind kind, int64_t n)
      : x(reference::make(kind, n, 3, 41)),
        y(reference::make(Kind::gaussian, 1, 3, 42)),
        norms(gtn::checked_norms(x.rows("latents"), parallel)),
        scorer(x.rows("latents"), y.rows("sources")),
        distinct(scorer, gtn::sorted_by_norm(reference::all_rows(n), norms, false, parallel), norms,
                 parallel),
        free(distinct) {}

  double score(int32_t id) const { return scorer.score(distinct.row(id), distinct.norm(id), 0); }

  // Rank of the latent that the contract takes.
  gtn::Rank choice(int64_t cone) const {
    std::vector<std::pair<double, gtn::Rank>> members;  // -score, rank
    for (int32_t id = 0; id < distinct.count(); ++id) {
      const int32_t taken = distinct.members(id) - free.remaining(id);
      for (int32_t j = taken; j < distinct.members(id); ++j) {
        members.emplace_back(-score(id), distinct.member(id, j));
      }
    }
    std::sort(members.begin(), members.end());
    members.resize(std::min(members.size(), static_cast<size_t>(cone)));
    gtn::Rank lowest = members[0].second;
    for (const auto& m : members) lowest = std::min(lowest, m.second);
    return lowest;
  }
};

}  // namespace

TEST_CASE("decisions take what the contract takes, and certify nothing else") {
  std::mt19937_64 random(3);
  const auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  int64_t wrong = 0, uncertified = 0, certified_when_cut = 0;
  for (const Kind kind : {Kind::gaussian, Kind::lattice, Kind::repeated}) {
    for (const Bounds bounds : {Bounds::upper, Bounds::both, Bounds::exact, Bounds::mixed}) {
      for (const double width : {0.0, 1e-3, 0.1}) {
        for (const int64_t cone : {1, 2, 7, 60}) {
          for (const bool whole : {true, false}) {
            Scene s(kind, 240);
            // A list of the best, or of all; its entries in no order.
            gtn::CandidateList list;
            std::vector<double> scores;
            for (int32_t id = 0; id < s.distinct.count(); ++id) scores.push_back(s.score(id));
            auto sorted = scores;
            std::sort(sorted.rbegin(), sorted.rend());
            const double bar = sorted[std::min(sorted.size() - 1, size_t{100})];
            list.outside = -gtn::kInfinity;
            for (int32_t id = 0; id < s.distinct.count(); ++id) {
              const double score = scores[static_cast<size_t>(id)];
              if (!whole && score < bar) {
                list.outside = std::max(list.outside, std::nextafter(score, gtn::kInfinity));
                continue;
              }
              gtn::Candidate c{.id = id, .upper = score + width * uniform()};
              const bool exact =
                  bounds == Bounds::exact || (bounds == Bounds::mixed && random() % 3 == 0);
              if (exact) c.score = c.upper = score;
              if (bounds == Bounds::both || (bounds == Bounds::mixed && random() % 3 == 0)) {
                c.lower = score - width * uniform();
              }
              list.items.push_back(c);
            }
            std::shuffle(list.items.begin(), list.items.end(), random);
            int64_t rescored = 0;
            while (s.free.count() > 0) {
              const gtn::Decision d = gtn::decide(s.scorer, s.free, 0, cone, list, rescored);
              if (d.certified) {
                certified_when_cut += !whole;
                wrong += d.rank != s.choice(cone) || d.rank != s.free.rank(d.id) ||
                         d.score != scores[static_cast<size_t>(d.id)];
              } else {
                uncertified += whole;
              }
              // Every free latent but the k best scores at most this.
              std::vector<double> free_scores;
              for (int32_t id = 0; id < s.distinct.count(); ++id) {
                free_scores.insert(free_scores.end(), static_cast<size_t>(s.free.remaining(id)),
                                   scores[static_cast<size_t>(id)]);
              }
              std::sort(free_scores.rbegin(), free_scores.rend());
              const auto k = std::min(free_scores.size(), static_cast<size_t>(cone));
              wrong += d.floor > free_scores[k - 1];
              // The choice goes, or another source's.
              for (int gone = 0; gone < 5 && s.free.count() > 0; ++gone) {
                int32_t id = d.id;
                while (id < 0 || !s.free.is_free(id)) {
                  id = static_cast<int32_t>(random() % scores.size());
                }
                s.free.take(id);
              }
            }
            if (bounds == Bounds::exact) wrong += rescored != 0;
          }
        }
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(uncertified == 0);
  CHECK(certified_when_cut > 1000);
}

TEST_CASE("bounds on both sides spare exact scores") {
  Scene s(Kind::gaussian, 240);
  for (const bool lower : {false, true}) {
    gtn::CandidateList list;
    list.outside = -gtn::kInfinity;
    for (int32_t id = 0; id < s.distinct.count(); ++id) {
      gtn::Candidate c{.id = id, .upper = s.score(id) + 1e-9};
      if (lower) c.lower = s.score(id) - 1e-9;
      list.items.push_back(c);
    }
    int64_t rescored = 0;
    const gtn::Decision d = gtn::decide(s.scorer, s.free, 0, 50, list, rescored);
    CHECK(d.certified);
    CHECK(d.rank == s.choice(50));
    if (lower) {
      CHECK(rescored <= 2);
    } else {
      CHECK(rescored >= 50);
    }
  }
}
