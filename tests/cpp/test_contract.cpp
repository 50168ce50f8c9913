// The contract's arithmetic, norms and refusals, orders, and distinct rows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/free_latents.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "reference.hpp"

using reference::Data;
using reference::Kind;

TEST_CASE("scores follow the contract's order of operations") {
  for (const int64_t dim : {1, 2, 7, 8, 9, 16, 33, 100}) {
    for (const Kind kx : {Kind::gaussian, Kind::wide}) {
      for (const Kind ky : {Kind::gaussian, Kind::wide}) {
        const Data x = reference::make(kx, 5, dim, 1), y = reference::make(ky, 5, dim, 2);
        const gtn::Scorer scorer(x.rows("latents"), y.rows("sources"));
        for (int64_t i = 0; i < 5; ++i) {
          const double norm = std::sqrt(gtn::squared_norm(x.rows("latents"), i));
          CHECK(norm == std::sqrt(reference::dot(x, i, x, i)));
          CHECK(scorer.score(i, norm, i) == reference::dot(x, i, y, i) / norm);
        }
      }
    }
  }
}

TEST_CASE("centred rows are widened before the mean is subtracted") {
  Data x = reference::make(Kind::gaussian, 3000, 5, 3);
  gtn::Parallel parallel(2);
  const std::vector<double> mean = gtn::column_mean(x.rows("latents"), parallel);
  for (int64_t k = 0; k < 5; ++k) {
    double total = 0.0;
    for (int64_t block = 0; block < 3; ++block) {
      double sum = 0.0;
      for (int64_t i = block * 1024; i < std::min<int64_t>(3000, (block + 1) * 1024); ++i) {
        sum += x.at(i, k);
      }
      total += sum;
    }
    CHECK(mean[static_cast<size_t>(k)] == total / 3000.0);
  }
  gtn::Rows rows = x.rows("latents");
  rows.mean = mean.data();
  double row[5];
  gtn::widen_row(rows, 7, row);
  for (int64_t k = 0; k < 5; ++k) CHECK(row[k] == x.at(7, k) - mean[static_cast<size_t>(k)]);
}

TEST_CASE("undefined rows are refused by name, rule, number and place") {
  gtn::Parallel parallel(2);
  const auto message = [&](double value, int64_t rows) {
    Data x = reference::make(Kind::wide, 3000, 3, 4);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < 3; ++k) x.f64[static_cast<size_t>((10 + 100 * i) * 3 + k)] = value;
    }
    try {
      gtn::checked_norms(x.rows("latents"), parallel);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(message(std::nan(""), 1) ==
        "latents must be finite, but NaN or infinity was found in 1 of 3000 rows: row 10");
  CHECK(message(std::numeric_limits<double>::infinity(), 7) ==
        "latents must be finite, but NaN or infinity was found in 7 of 3000 rows: rows 10, 110, "
        "210, 310, 410, ...");
  CHECK(message(0.0, 2).find("zero norm was found in 2 of 3000 rows: rows 10, 110") !=
        std::string::npos);
  CHECK(message(1e200, 1).find("overflow was found in 1") != std::string::npos);
  CHECK(message(1e-200, 1).find("underflow was found in 1") != std::string::npos);
  CHECK(message(1.0, 1).empty());
}

// Against a stable sort of all rows by their norms, both ways.
void check_orders(const std::vector<double>& norms, gtn::Parallel& parallel) {
  const auto rows = reference::all_rows(static_cast<int64_t>(norms.size()));
  for (const bool descending : {false, true}) {
    const auto order = gtn::sorted_by_norm(rows, norms, descending, parallel);
    auto expected = rows;
    std::stable_sort(expected.begin(), expected.end(), [&](int32_t a, int32_t b) {
      const double u = norms[static_cast<size_t>(a)], v = norms[static_cast<size_t>(b)];
      return descending ? u > v : u < v;
    });
    CHECK(order == expected);
  }
}

TEST_CASE("orders: ascending and descending norm, ties by ascending row") {
  gtn::Parallel parallel(3);
  std::mt19937_64 random(5);
  std::vector<double> norms(200'001);
  for (double& norm : norms) norm = 1.0 + static_cast<double>(random() % 5000);
  check_orders(norms, parallel);
}

TEST_CASE("orders of keys of any distribution") {
  gtn::Parallel parallel(3);
  for (int kind = 0; kind < 6; ++kind) {
    for (const size_t n : {1, 2, 129, 70'000}) {
      std::mt19937_64 random(n);
      std::vector<double> norms(n);
      for (size_t i = 0; i < n; ++i) {
        const double u = static_cast<double>(1 + random() % 1000000) * 1e-6;
        const double wide = std::exp2(2000.0 * u - 1000.0);  // all exponents
        const double nested = 1.0 + std::exp2(-50.0 * u);    // denser and denser towards one
        const double choices[] = {
            u, wide, nested, 1.0, i == 0 ? 1e300 : 1.0 + u * 1e-12, i % 2 ? 1e-300 : 1e300};
        norms[i] = choices[kind];
      }
      check_orders(norms, parallel);
    }
  }
}

TEST_CASE("equal rows share an id, and its members go in rank order") {
  gtn::Parallel parallel(2);
  const Data x = reference::make(Kind::repeated, 500, 3, 6);
  const auto norms = gtn::checked_norms(x.rows("latents"), parallel);
  std::vector<int32_t> rows(500);
  for (int32_t i = 0; i < 500; ++i) rows[static_cast<size_t>(i)] = i;
  const gtn::Scorer scorer(x.rows("latents"), x.rows("sources"));
  const gtn::DistinctLatents distinct(scorer, gtn::sorted_by_norm(rows, norms, false, parallel),
                                      norms, parallel);
  CHECK(distinct.count() == 26);
  gtn::FreeLatents free(distinct);
  CHECK(free.count() == 500);
  gtn::Rank last;
  for (int32_t id = 0; id < distinct.count(); ++id) {
    CHECK(free.rank(id) > last);  // ids ascend with the rank of their first member
    last = free.rank(id);
    gtn::Rank previous;
    while (free.is_free(id)) {
      const gtn::Rank rank = free.take(id);
      CHECK(rank > previous);
      for (int64_t k = 0; k < 3; ++k) {
        CHECK(x.at(distinct.row_of_rank(rank), k) == x.at(distinct.row(id), k));
      }
      previous = rank;
    }
  }
  CHECK(free.count() == 0);
  CHECK(free.ids() == 0);
}

TEST_CASE("one long run of equal norms across chunks") {
  gtn::Parallel parallel(3);
  Data x{50'000, 2, {}, {}};
  for (int64_t i = 0; i < x.n; ++i) {  // eight directions, one norm
    const float a = i % 2 ? 3.0f : -3.0f, b = i / 2 % 2 ? 4.0f : -4.0f;
    x.f32.push_back(i / 4 % 2 ? a : b);
    x.f32.push_back(i / 4 % 2 ? b : a);
  }
  const auto norms = gtn::checked_norms(x.rows("latents"), parallel);
  std::vector<int32_t> rows(50'000);
  for (int32_t i = 0; i < 50'000; ++i) rows[static_cast<size_t>(i)] = i;
  const gtn::Scorer scorer(x.rows("latents"), x.rows("sources"));
  const gtn::DistinctLatents distinct(scorer, rows, norms, parallel);
  REQUIRE(distinct.count() == 8);
  for (int32_t id = 0; id < 8; ++id) {
    CHECK(distinct.members(id) == 6250);
    CHECK(distinct.member(id, 6249).value == 49'992 + id);
  }
}

TEST_CASE("in one dimension centred rows of one value share an id") {
  gtn::Parallel parallel(2);
  Data x{300, 1, {}, {}};
  for (int i = 0; i < 300; ++i)
    x.f32.push_back(i % 3 ? 1e-30f * static_cast<float>(1 + i % 7) : 1.0f);
  gtn::Rows latents = x.rows("latents");
  const double mean = 0.25;
  latents.mean = &mean;
  const auto norms = gtn::checked_norms(latents, parallel);
  std::vector<int32_t> rows(300);
  for (int32_t i = 0; i < 300; ++i) rows[static_cast<size_t>(i)] = i;
  const gtn::Scorer scorer(latents, x.rows("sources"));
  const gtn::DistinctLatents distinct(scorer, gtn::sorted_by_norm(rows, norms, false, parallel),
                                      norms, parallel);
  CHECK(distinct.count() == 2);
}
