// One dimension: the lemma that line_scan.hpp rests on, lists that keep the interface's promise
// while latents go, and the set of free positions.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/free_bits.hpp"
#include "core/line_scan.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "reference.hpp"

using reference::Data;

namespace {

// Magnitudes with every mantissa near 1 and 2, and small ones that make ties.
double magnitude(std::mt19937_64& random, int kind) {
  const double fine = static_cast<double>(random() >> 11) * 0x1p-53;
  const double tiny = static_cast<double>(random() % 64) * 0x1p-52;
  const int octave = static_cast<int>(random() % 7) - 3;
  const double mantissa = kind == 0   ? 1.0 + fine
                          : kind == 1 ? 1.0 + tiny
                          : kind == 2 ? 2.0 - 0x1p-52 - tiny
                                      : 1.0 + static_cast<double>(random() % 8) / 8.0;
  return std::ldexp(mantissa, octave);
}

}  // namespace

TEST_CASE("scores in one dimension are |y|, or beside it where |x| |y| passes a power of two") {
  std::mt19937_64 random(1);
  int64_t broken = 0, beside = 0;
  for (int round = 0; round < 400'000; ++round) {
    const double x = magnitude(random, round % 4), y = magnitude(random, round / 4 % 4);
    CHECK_UNARY(std::sqrt(x * x) == x);
    const double score = gtn::score_1d(x, x, y);
    if (score == y) continue;
    ++beside;
    const bool neighbour =
        score == std::nextafter(y, gtn::kInfinity) || score == std::nextafter(y, 0.0);
    const double mx = std::ldexp(x, -std::ilogb(x)), my = std::ldexp(y, -std::ilogb(y));
    broken += !neighbour || mx < 2.0 / my * (1.0 - 0x1p-50);
  }
  CHECK(broken == 0);
  CHECK(beside > 10'000);
}

TEST_CASE("lists keep their promise while latents go") {
  gtn::Parallel parallel(2);
  for (const bool descending : {false, true}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::mt19937_64 random(static_cast<uint64_t>(kind) + 5);
      Data x{1500, 1, {}, {}}, y{40, 1, {}, {}};
      for (Data* data : {&x, &y}) {
        for (int64_t i = 0; i < data->n; ++i) {
          data->f64.push_back(magnitude(random, kind) * (random() % 3 ? 1.0 : -1.0));
        }
      }
      const gtn::Scorer scorer(x.rows("latents"), y.rows("sources"));
      const auto xn = gtn::checked_norms(x.rows("latents"), parallel);
      const auto yn = gtn::checked_norms(y.rows("sources"), parallel);
      std::vector<int32_t> rows(1500);
      std::iota(rows.begin(), rows.end(), 0);
      const gtn::DistinctLatents distinct(
          scorer, gtn::sorted_by_norm(rows, xn, descending, parallel), xn, parallel);
      gtn::FreeLatents free(distinct);
      gtn::LineScan scan(scorer, free, parallel);
      while (free.ids() > 0) {
        std::vector<gtn::Query> queries;
        for (int32_t j = 0; j < 40; ++j) queries.push_back({j, yn[static_cast<size_t>(j)]});
        std::vector<gtn::CandidateList> lists(40);
        scan.search(queries, 4, false, lists);
        int64_t broken = 0;
        for (int32_t j = 0; j < 40; ++j) {
          const auto& list = lists[static_cast<size_t>(j)];
          std::vector<bool> listed(static_cast<size_t>(distinct.count()), false);
          for (const auto& c : list.items) {
            const double score = scorer.score(distinct.row(c.id), distinct.norm(c.id), j);
            broken += !free.is_free(c.id) || listed[static_cast<size_t>(c.id)] || c.score != score;
            listed[static_cast<size_t>(c.id)] = true;
          }
          for (int32_t id = 0; id < distinct.count(); ++id) {
            if (!free.is_free(id) || listed[static_cast<size_t>(id)]) continue;
            const double score = scorer.score(distinct.row(id), distinct.norm(id), j);
            broken += !(score < list.outside ||
                        (score == list.outside && free.rank(id) > list.outside_rank));
          }
        }
        REQUIRE(broken == 0);
        std::vector<int32_t> exhausted;
        for (int32_t id = 0; id < distinct.count(); ++id) {
          if (!free.is_free(id) || random() % 2) continue;
          while (free.is_free(id)) free.take(id);
          exhausted.push_back(id);
        }
        scan.remove(exhausted);
      }
    }
  }
}

TEST_CASE("the next free position, while positions go") {
  for (const int64_t size : {0, 1, 63, 64, 65, 4096, 4097, 300'000}) {
    gtn::FreeBits bits(size);
    std::vector<int64_t> order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::mt19937_64 random(static_cast<uint64_t>(size));
    std::shuffle(order.begin(), order.end(), random);
    std::vector<bool> free(static_cast<size_t>(size), true);
    int64_t wrong = bits.next(size) != size;
    for (size_t gone = 0; gone <= order.size(); ++gone) {
      if (gone % (1 + order.size() / 5) == 0 || gone + 70 > order.size()) {
        int64_t next = size;
        const int64_t lowest = order.size() > 5000 && gone % 2 ? size - 5000 : 0;
        for (int64_t at = size - 1; at >= lowest; --at) {
          if (free[static_cast<size_t>(at)]) next = at;
          wrong += bits.next(at) != next;
        }
      }
      if (gone == order.size()) break;
      bits.remove(order[gone]);
      free[static_cast<size_t>(order[gone])] = false;
    }
    CHECK(wrong == 0);
  }
}
