// The rows that FAISS is given, and the bound of its scores: against the contract's own scores, for
// all data, dimensions and orders of additions, and after removals.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "double_index.hpp"
#include "faiss/unit_rows.hpp"
#include "promise.hpp"

using promise::Bench;
using reference::Data;
using reference::Kind;

namespace {

// Bytes of the row of every free latent, by id: what is at a position must go with its id.
void check_rows(const Bench& b, const gtn::UnitRows& rows, std::vector<std::vector<float>>& first) {
  const gtn::FloatRows f = rows.rows();
  REQUIRE(f.count == b.free.ids());
  std::set<int32_t> ids;
  int64_t moved_wrongly = 0;
  for (int64_t at = 0; at < f.count; ++at) {
    const int32_t id = rows.id_at(at);
    REQUIRE(b.free.is_free(id));
    ids.insert(id);
    const std::vector<float> row(f.data + at * f.dim, f.data + (at + 1) * f.dim);
    std::vector<float>& before = first[static_cast<size_t>(id)];
    if (before.empty()) before = row;
    moved_wrongly += row != before;
  }
  CHECK(moved_wrongly == 0);
  CHECK(static_cast<int64_t>(ids.size()) == f.count);
}

// The largest of |cosine - (base + score)| as a share of the bound.
double largest_share(Bench& b, const gtn::UnitRows& rows) {
  const gtn::FloatRows f = rows.rows();
  std::vector<gtn::Query> sources;
  for (int32_t j = 0; j < b.y.n; ++j) sources.push_back({j, b.yn[static_cast<size_t>(j)]});
  gtn::UnitRows::Queries queries;
  rows.make_queries(sources, b.parallel, queries);
  double largest = 0.0;
  for (int32_t j = 0; j < b.y.n; ++j) {
    const double norm = b.yn[static_cast<size_t>(j)];
    const double base = queries.bases[static_cast<size_t>(j)];
    const float* q = &queries.vectors[static_cast<size_t>(j * f.dim)];
    for (int64_t at = 0; at < f.count; ++at) {
      const int32_t id = rows.id_at(at);
      const double cosine = b.scorer.score(b.distinct.row(id), b.distinct.norm(id), j) / norm;
      const int order = static_cast<int>((at + j) % doubles::kOrders);
      const float score = doubles::inner_product(q, f.data + at * f.dim, f.dim, order);
      const double off = std::fabs(cosine - (base + static_cast<double>(score)));
      largest = std::max(largest, off / rows.error());
    }
  }
  return largest;
}

Data scaled(Data d, double by) {
  for (double& v : d.f64) v *= by;
  return d;
}

}  // namespace

TEST_CASE("scores of float32 rows lie within the bound of the cosine") {
  for (const Kind kind : reference::kKinds) {
    CAPTURE(static_cast<int>(kind));
    for (const int64_t dim : {1, 2, 3, 7, 8, 31, 64, 100, 257, 700}) {
      CAPTURE(dim);
      for (const bool center : {false, true}) {
        const Data x = reference::make(kind, 40, dim, 11);
        Bench b(x, reference::make(Kind::gaussian, 20, dim, 12), center);
        const gtn::UnitRows rows(b.scorer, b.free, b.parallel);
        CHECK(largest_share(b, rows) <= 1.0);
        // A bound that says nothing would pass everything else.
        CHECK(rows.error() < 2.1 * (static_cast<double>(dim) + 4.0) * 0x1p-24);
      }
    }
  }
}

TEST_CASE("rows at the ends of float64's range have the bound of all others") {
  for (const int64_t dim : {2, 33, 300}) {
    const Data x = reference::make(Kind::wide, 60, dim, 13);
    const Data y = reference::make(Kind::wide, 20, dim, 14);
    for (const double of_x : {1e-150, 1.0, 1e150}) {
      for (const double of_y : {1e-150, 1.0, 1e150}) {
        if (of_x * of_y > 1e200 || of_x * of_y < 1e-200) continue;  // beyond float64
        for (const bool center : {false, true}) {
          Bench b(scaled(x, of_x), scaled(y, of_y), center);
          const gtn::UnitRows rows(b.scorer, b.free, b.parallel);
          CHECK(largest_share(b, rows) <= 1.0);
        }
      }
    }
  }
}

TEST_CASE("the bound counts the row farthest from the others") {
  for (const int64_t odd : {0, 1700, 2999}) {
    Data x = reference::make(Kind::gaussian, 3000, 40, 17);
    for (int64_t i = 0; i < x.n; ++i) {
      const float norm = 1.0f + static_cast<float>(i);  // so that ids ascend with rows
      for (int64_t k = 0; k < x.dim; ++k) {
        float& v = x.f32[static_cast<size_t>(i * x.dim + k)];
        v = norm * (i == odd ? -1.0f : 1.0f + 1e-3f * v);
      }
    }
    Bench b(x, reference::make(Kind::gaussian, 20, 40, 18), false);
    const gtn::UnitRows rows(b.scorer, b.free, b.parallel);
    CHECK(rows.error() >= 40.0 * 0x1p-24 * 1.99);
    CHECK(rows.error() < 44.1 * 0x1p-24 * 2.01);
  }
}

TEST_CASE("rows stay with their ids in whatever order latents go") {
  for (const Kind kind : {Kind::gaussian, Kind::repeated, Kind::lattice}) {
    for (const uint64_t seed : {1, 2, 3}) {
      Bench b(kind, 500, 3);
      gtn::UnitRows rows(b.scorer, b.free, b.parallel);
      std::vector<std::vector<float>> first(static_cast<size_t>(b.distinct.count()));
      check_rows(b, rows, first);
      std::vector<int32_t> order = reference::all_rows(b.distinct.count());
      std::mt19937_64 random(seed);
      if (seed > 1) std::shuffle(order.begin(), order.end(), random);
      if (seed > 2) std::sort(order.begin(), order.begin() + 10, std::greater<>());
      const size_t step = std::max<size_t>(1, order.size() / 7);
      for (size_t at = 0; at < order.size(); at += step) {
        const auto some = std::span(order).subspan(at, std::min(step, order.size() - at));
        for (const int32_t id : some) {
          while (b.free.is_free(id)) b.free.take(id);
        }
        rows.remove(some);
        check_rows(b, rows, first);
        CHECK((rows.count() == 0 || largest_share(b, rows) <= 1.0));
      }
      CHECK(rows.count() == 0);
    }
  }
}
