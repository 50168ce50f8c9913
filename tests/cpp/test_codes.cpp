// Codes and their bounds: whatever the data, the true score lies within the promised distance of
// the integer score, also after removals.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/norms.hpp"
#include "core/unit_vectors.hpp"
#include "cpu/cells.hpp"
#include "cpu/codes.hpp"
#include "reference.hpp"

using reference::Data;
using reference::Kind;

namespace {

int32_t integer_product(const gtn::LatentCodes& codes, int32_t position, const std::byte* source) {
  const auto* panel = static_cast<const std::byte*>(codes.panels()) +
                      static_cast<int64_t>(position / 64) * codes.steps() * 256;
  int64_t sum = 0;
  for (int32_t s = 0; s < codes.steps(); ++s) {
    const std::byte* x = panel + s * 256 + position % 64 * 4;
    const std::byte* y = source + s * 4;
    if (codes.arithmetic() == gtn::Arithmetic::int8) {
      for (int k = 0; k < 4; ++k) {
        sum += (std::to_integer<int>(x[k]) - 128) * static_cast<int8_t>(std::to_integer<int>(y[k]));
      }
    } else {
      int16_t a[2], b[2];
      std::memcpy(a, x, 4);
      std::memcpy(b, y, 4);
      sum += a[0] * b[0] + a[1] * b[1];
    }
  }
  if (sum < INT32_MIN || sum > INT32_MAX) FAIL("a sum left int32");
  return static_cast<int32_t>(sum);
}

}  // namespace

TEST_CASE("the bound holds for every pair") {
  gtn::Parallel parallel(2);
  for (const Kind kind : reference::kKinds) {
    for (const int64_t dim : {1, 2, 5, 33}) {
      for (const auto arithmetic : {gtn::Arithmetic::int8, gtn::Arithmetic::int16}) {
        const Data x = reference::make(kind, 2100, dim, 7),
                   y = reference::make(Kind::gaussian, 6, dim, 8);
        std::vector<double> xn, yn = gtn::checked_norms(y.rows("sources"), parallel);
        xn = gtn::checked_norms(x.rows("latents"), parallel);
        std::vector<int32_t> rows(2100);
        std::iota(rows.begin(), rows.end(), 0);
        const gtn::Scorer scorer(x.rows("latents"), y.rows("sources"));
        const gtn::DistinctLatents distinct(scorer, rows, xn, parallel);
        gtn::FreeLatents free(distinct);
        gtn::LatentCodes codes(scorer, free, arithmetic, parallel);
        CHECK(codes.live() == distinct.count());
        std::vector<int32_t> taken;
        for (int32_t id = 0; id < distinct.count(); id += 3) taken.push_back(id);
        const auto half = std::span<const int32_t>(taken).first(taken.size() / 2);
        codes.remove(half, parallel);
        codes.remove(taken, parallel);  // half of them are no longer there
        CHECK(codes.live() == distinct.count() - static_cast<int64_t>(taken.size()));

        std::vector<int> seen(static_cast<size_t>(distinct.count()), 0);
        std::vector<double> unit(static_cast<size_t>(dim));
        std::vector<std::byte> out(static_cast<size_t>(codes.steps()) * 4);
        for (int32_t j = 0; j < 6; ++j) {
          const double norm = yn[static_cast<size_t>(j)];
          gtn::unit_row(y.rows("sources"), j, norm, unit.data());
          const auto code = gtn::encode_source(unit.data(), dim, arithmetic, 127, out.data());
          double worst = 0.0;
          for (const gtn::Cell& cell : codes.cells()) {
            const double base = gtn::product(unit.data(), cell.centre.data(), dim);
            for (int32_t b = cell.first_band; b < cell.end_band; ++b) {
              const gtn::Band& band = codes.bands()[static_cast<size_t>(b)];
              const double error = code.coded_norm * band.residual + code.residual * band.radius +
                                   4.0 * gtn::rounding_slack(dim);
              for (int64_t at = 0; at < band.live; ++at) {
                const auto position = static_cast<int32_t>(band.first_panel * 64 + at);
                const int32_t id = codes.id_at(position);
                if (id < 0 || id % 3 == 0) FAIL("a removed latent is still coded");
                ++seen[static_cast<size_t>(id)];
                const double approximate =
                    base + band.step * code.step * integer_product(codes, position, out.data());
                const double cosine = scorer.score(distinct.row(id), distinct.norm(id), j) / norm;
                worst = std::max(worst, std::fabs(cosine - approximate) / error);
              }
            }
          }
          CHECK(worst <= 1.0);
        }
        int64_t wrong = 0;
        for (int32_t id = 0; id < distinct.count(); ++id) {
          wrong += seen[static_cast<size_t>(id)] != (id % 3 == 0 ? 0 : 6);
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("cells partition the latents, and tight clusters get cells of their own") {
  gtn::Parallel parallel(2);
  for (const Kind kind : reference::kKinds) {
    const Data x = reference::make(kind, 4000, 20, 9);
    const auto norms = gtn::checked_norms(x.rows("latents"), parallel);
    std::vector<int32_t> rows(4000);
    std::iota(rows.begin(), rows.end(), 0);
    const gtn::Scorer scorer(x.rows("latents"), x.rows("sources"));
    const gtn::DistinctLatents distinct(scorer, rows, norms, parallel);
    std::vector<int32_t> ids(static_cast<size_t>(distinct.count()));
    std::iota(ids.begin(), ids.end(), 0);
    const auto cells = gtn::choose_cells(scorer, distinct, ids, parallel);
    std::vector<int> seen(ids.size(), 0);
    for (const auto& cell : cells) {
      CHECK(!cell.empty());
      for (const int32_t id : cell) ++seen[static_cast<size_t>(id)];
    }
    CHECK(std::count(seen.begin(), seen.end(), 1) == static_cast<std::ptrdiff_t>(seen.size()));
    if (kind == Kind::tight_clusters) CHECK(cells.size() >= 8);
    if (kind == Kind::gaussian) CHECK(cells.size() == 1);
  }
}

TEST_CASE("extreme latents do not coarsen the codes of the others") {
  gtn::Parallel parallel(2);
  constexpr int64_t kRows = 4096, kDim = 24;
  Data x = reference::make(Kind::gaussian, kRows, kDim, 10);
  auto rows = x.rows("latents");
  std::vector<double> wide(static_cast<size_t>(kDim * kRows));
  for (int32_t i = 0; i < kRows; ++i) {
    double* row = &wide[static_cast<size_t>(i) * kDim];
    gtn::widen_row(rows, i, row);
    if (i % 4 == 0) row[i % kDim] *= 1e3;  // a unit vector in all but name
  }
  rows.data = wide.data();
  rows.dtype = gtn::DType::f64;
  const auto norms = gtn::checked_norms(rows, parallel);
  std::vector<int32_t> order(kRows);
  std::iota(order.begin(), order.end(), 0);
  const gtn::Scorer scorer(rows, rows);
  const gtn::DistinctLatents distinct(scorer, order, norms, parallel);
  const gtn::FreeLatents free(distinct);
  const gtn::LatentCodes codes(scorer, free, gtn::Arithmetic::int8, parallel);
  double finest = 1.0, coarsest = 0.0;
  int64_t coded = 0;
  for (const gtn::Band& band : codes.bands()) {
    finest = std::min(finest, band.residual);
    coarsest = std::max(coarsest, band.residual);
    coded += band.live;
  }
  CHECK(coded == kRows);
  CHECK(coarsest < 0.05);
  CHECK(finest < 0.7 * coarsest);
}
