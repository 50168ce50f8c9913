// Every exact kernel that runs here against the portable ones, bit for bit: all dtypes, centred or
// not, all tails, values from subnormal to huge.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/instruction_sets.hpp"

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kDims[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,  13,  14,  15,
                             16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,  28,  29,  30,
                             31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 64, 100, 257, 1000};

// Rows whose products are ordinary, subnormal (also the values of one side), huge, or all of these.
enum class Scale { ordinary, subnormal, huge, mixed };
constexpr Scale kScales[] = {Scale::ordinary, Scale::subnormal, Scale::huge, Scale::mixed};

template <class T>
std::vector<T> values(size_t count, Scale scale, bool source, uint64_t seed) {
  const double small = std::numeric_limits<T>::denorm_min() * 1000.0;
  const double large = std::sqrt(static_cast<double>(std::numeric_limits<T>::max())) / 100.0;
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<T> v(count);
  for (T& x : v) {
    double factor = 1.0;
    const auto pick = random() % 4;
    if (scale == Scale::subnormal) factor = source ? 1e-3 : small;
    if (scale == Scale::huge) factor = large;
    if (scale == Scale::mixed) factor = pick == 0 ? small : pick == 1 ? large : 1.0;
    x = static_cast<T>(factor * normal(random));
    if (random() % 16 == 0) x = T{0} * (random() % 2 ? T{1} : T{-1});
  }
  return v;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double u, double v) {
    return std::bit_cast<uint64_t>(u) == std::bit_cast<uint64_t>(v);
  });
}

template <class X, class Y>
int64_t differing_dots(const gtn::ExactKernels& kernels, int64_t dim, Scale scale) {
  constexpr int64_t kRows = 11;
  const auto d = static_cast<size_t>(dim);
  const auto seed = static_cast<uint64_t>(dim);
  const auto x = values<X>(kRows * d, scale, false, seed);
  const auto y = values<Y>(d, scale, true, seed + 1);
  const auto mean = values<double>(d, scale, false, seed + 2);
  // In any order, as decisions ask for them.
  const void* rows[kRows];
  for (size_t i = 0; i < kRows; ++i) rows[i] = &x[(i * 7 % kRows) * d];
  int64_t differing = 0;
  for (const double* centre : {static_cast<const double*>(nullptr), mean.data()}) {
    for (int64_t count = 0; count <= kRows; ++count) {
      std::vector<double> expected(kRows, 0.0), actual(kRows, 0.0);
      constexpr int kX = sizeof(X) == 8, kY = sizeof(Y) == 8;
      gtn::exact_portable.dots[kX][kY](rows, count, y.data(), centre, dim, expected.data());
      kernels.dots[kX][kY](rows, count, y.data(), centre, dim, actual.data());
      differing += !same_bits(expected, actual);
    }
  }
  return differing;
}

struct Hits {
  std::vector<double> scores;
  std::vector<int32_t> positions;
};

struct Panels {
  int64_t dim, panels, sources;
  std::vector<double> rows, norms, inverses, points;
};

// The hits of all sources, scanned in the tiles of the kernel.
std::vector<Hits> scan(const gtn::ExactKernels& kernels, const Panels& p,
                       const std::vector<double>& thresholds, int32_t limit) {
  std::vector<Hits> hits(thresholds.size());
  const auto places = static_cast<size_t>(kernels.tile_sources);
  std::vector<double> padded = p.points;
  padded.resize((thresholds.size() + places) * static_cast<size_t>(p.dim), 0.0);
  const auto room = static_cast<size_t>(limit) + gtn::kExactLanes;
  for (size_t first = 0; first < thresholds.size(); first += places) {
    std::vector<std::vector<double>> scores(places, std::vector<double>(room));
    std::vector<std::vector<int32_t>> positions(places, std::vector<int32_t>(room));
    gtn::ExactTile tile{};
    tile.panels = p.rows.data();
    tile.norms = p.norms.data();
    tile.inverses = p.inverses.data();
    tile.panel_end = p.panels;
    tile.dim = p.dim;
    tile.sources = &padded[first * static_cast<size_t>(p.dim)];
    for (size_t r = 0; r < places; ++r) {
      tile.threshold[r] = first + r < thresholds.size() ? thresholds[first + r] : kInfinity;
      tile.hit_scores[r] = scores[r].data();
      tile.hit_positions[r] = positions[r].data();
      tile.limit[r] = limit;
    }
    while (tile.panel_begin < tile.panel_end) {
      const int64_t at = kernels.scan(&tile);
      REQUIRE(at > tile.panel_begin);
      tile.panel_begin = at;
      for (size_t r = 0; r < places; ++r) {
        REQUIRE(tile.hits[r] <= limit + gtn::kExactLanes);
        for (size_t h = 0; h < static_cast<size_t>(tile.hits[r]); ++h) {
          hits[first + r].scores.push_back(scores[r][h]);
          hits[first + r].positions.push_back(positions[r][h]);
        }
        tile.hits[r] = 0;
      }
    }
  }
  return hits;
}

Panels make_panels(int64_t dim, Scale scale, uint64_t seed) {
  Panels p{dim, 5, 7, {}, {}, {}, {}};
  const size_t latents = static_cast<size_t>(p.panels) * gtn::kExactLanes;
  p.rows = values<double>(latents * static_cast<size_t>(dim), scale, false, seed);
  p.points = values<double>(static_cast<size_t>(p.sources * dim), scale, true, seed + 1);
  for (size_t i = 0; i < latents; ++i) {
    double square = 0.0;
    for (size_t k = 0; k < static_cast<size_t>(dim); ++k) {
      const double v = p.rows[(i / 8 * static_cast<size_t>(dim) + k) * 8 + i % 8];
      square += v * v;
    }
    const bool latent = i + 3 < latents;
    p.norms.push_back(!latent ? std::nan("") : square > 1e-300 ? std::sqrt(square) : 1.5e-154);
    p.inverses.push_back(1.0 / p.norms.back());
  }
  return p;
}

std::vector<const gtn::ExactKernels*> kernels_of_this_machine() {
  std::vector<const gtn::ExactKernels*> kernels;
  for (const auto& set : gtn::instruction_sets()) {
    if (!set.supported()) continue;
    if (kernels.empty() || kernels.back() != set.exact) kernels.push_back(set.exact);
  }
  return kernels;
}

}  // namespace

TEST_CASE("exact kernels give the portable dot products") {
  const auto all = kernels_of_this_machine();
  REQUIRE(all.back() == &gtn::exact_portable);
  for (const gtn::ExactKernels* kernels : all) {
    CAPTURE(std::string(kernels->name));
    for (const int64_t dim : kDims) {
      CAPTURE(dim);
      int64_t differing = 0;
      for (const Scale scale : kScales) {
        differing += differing_dots<float, float>(*kernels, dim, scale);
        differing += differing_dots<float, double>(*kernels, dim, scale);
        differing += differing_dots<double, float>(*kernels, dim, scale);
        differing += differing_dots<double, double>(*kernels, dim, scale);
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE("exact kernels give the hits of portable scores") {
  for (const gtn::ExactKernels* kernels : kernels_of_this_machine()) {
    CAPTURE(std::string(kernels->name));
    CHECK(kernels->tile_sources <= gtn::kMostExactSources);
    for (const int64_t dim : kDims) {
      CAPTURE(dim);
      int64_t differing = 0, found = 0;
      for (const Scale scale : kScales) {
        const Panels p = make_panels(dim, scale, static_cast<uint64_t>(dim) + 7);
        const auto sources = static_cast<size_t>(p.sources);
        const auto latents = static_cast<size_t>(p.panels) * 8 - 3;
        // Every score, from the dot products of rows.
        std::vector<std::vector<double>> scores(sources, std::vector<double>(latents));
        std::vector<double> row(static_cast<size_t>(dim));
        for (size_t i = 0; i < latents; ++i) {
          for (size_t k = 0; k < row.size(); ++k)
            row[k] = p.rows[(i / 8 * row.size() + k) * 8 + i % 8];
          const void* at = row.data();
          for (size_t q = 0; q < sources; ++q) {
            double dot;
            gtn::exact_portable.dots[1][1](&at, 1, &p.points[q * row.size()], nullptr, dim, &dot);
            scores[q][i] = dot / p.norms[i];
          }
        }
        // Bars: below all, at a score, between two of them, above all.
        for (int round = 0; round < 4; ++round) {
          std::vector<double> thresholds;
          std::vector<Hits> expected(sources);
          for (size_t q = 0; q < sources; ++q) {
            auto sorted = scores[q];
            std::sort(sorted.begin(), sorted.end());
            double threshold = -kInfinity;
            if (round == 1) threshold = sorted[(q * 5) % sorted.size()];
            if (round == 2) threshold = std::nextafter(sorted[(q * 11) % sorted.size()], kInfinity);
            if (round == 3) threshold = std::nextafter(sorted.back(), kInfinity);
            thresholds.push_back(threshold);
            for (size_t i = 0; i < latents; ++i) {
              if (!(scores[q][i] >= threshold)) continue;
              expected[q].scores.push_back(scores[q][i]);
              expected[q].positions.push_back(static_cast<int32_t>(i));
            }
          }
          for (const int32_t limit : {0, 3, 1000}) {
            const auto hits = scan(*kernels, p, thresholds, limit);
            for (size_t q = 0; q < sources; ++q) {
              differing += hits[q].positions != expected[q].positions;
              differing += !same_bits(hits[q].scores, expected[q].scores);
              found += static_cast<int64_t>(hits[q].scores.size());
            }
          }
        }
      }
      CHECK(differing == 0);
      CHECK(found > 0);
    }
  }
}

TEST_CASE("a forced instruction set governs exact kernels too") {
  CHECK(gtn::select_instruction_set("scalar").exact == &gtn::exact_portable);
  for (const auto& set : gtn::instruction_sets()) {
    if (!set.supported()) continue;
    const std::string name = set.name, exact = set.exact->name;
    if (name == "avx2") CHECK(exact == "avx2");
    if (name == "avx512_vnni") CHECK(exact == "avx512");
  }
}
