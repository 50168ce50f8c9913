// Every scan kernel that runs here against plain sums: bit-equal hits in position order, for odd
// numbers of steps and panels, tight limits, and codes at the ends of their range.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/dispatch.hpp"

namespace {

struct Hits {
  std::vector<int32_t> sums, positions;
  bool operator==(const Hits&) const = default;
};

struct Problem {
  bool wide;
  int32_t steps;
  int64_t panels;
  std::vector<uint8_t> latents;  // [panels][steps][64][4]
  std::vector<uint8_t> sources;  // [6][steps][4]

  int32_t sum(int r, int64_t panel, int lane, int32_t start) const {
    uint32_t total = static_cast<uint32_t>(start);
    for (int32_t s = 0; s < steps; ++s) {
      const uint8_t* x = &latents[static_cast<size_t>(((panel * steps + s) * 64 + lane) * 4)];
      const uint8_t* y = &sources[static_cast<size_t>((r * steps + s) * 4)];
      if (wide) {
        int16_t a[2], b[2];
        std::memcpy(a, x, 4);
        std::memcpy(b, y, 4);
        total += static_cast<uint32_t>(a[0] * b[0] + a[1] * b[1]);
      } else {
        for (int k = 0; k < 4; ++k) {
          total += static_cast<uint32_t>(static_cast<int32_t>(x[k]) * static_cast<int8_t>(y[k]));
        }
      }
    }
    return static_cast<int32_t>(total);
  }
};

Problem make(bool wide, int32_t steps, int64_t panels, int32_t source_limit, bool extreme,
             uint64_t seed) {
  std::mt19937_64 random(seed);
  Problem p{wide, steps, panels, {}, {}};
  p.latents.resize(static_cast<size_t>(panels * steps * 256));
  p.sources.resize(static_cast<size_t>(6 * steps * 4));
  if (wide) {
    // Within the norm that keeps sums inside int32, as codes are.
    const int limit = static_cast<int>(46000.0 / std::sqrt(2.0 * steps));
    const auto fill = [&](std::vector<uint8_t>& v) {
      for (size_t i = 0; i < v.size(); i += 2) {
        const auto c = static_cast<int16_t>(
            extreme ? (random() % 2 ? limit : -limit)
                    : static_cast<int>(random() % static_cast<uint64_t>(2 * limit + 1)) - limit);
        std::memcpy(&v[i], &c, 2);
      }
    };
    fill(p.latents);
    fill(p.sources);
  } else {
    for (uint8_t& c : p.latents) {
      c = extreme ? (random() % 2 ? 255 : 1) : static_cast<uint8_t>(1 + random() % 255);
    }
    for (uint8_t& c : p.sources) {
      const int v = extreme
                        ? (random() % 2 ? source_limit : -source_limit)
                        : static_cast<int>(random() % static_cast<uint64_t>(2 * source_limit + 1)) -
                              source_limit;
      c = static_cast<uint8_t>(static_cast<int8_t>(v));
    }
  }
  return p;
}

std::vector<Hits> run(const gtn::Kernel& kernel, const Problem& p, const int32_t* thresholds,
                      int32_t limit) {
  constexpr size_t kRoom = 64 + 16;
  std::vector<Hits> hits(6);
  std::vector<std::vector<int32_t>> sums(6), positions(6);
  gtn::ScanTile tile{};
  tile.panels = p.latents.data();
  tile.steps = tile.source_steps = p.steps;
  tile.sources = p.sources.data();
  for (size_t r = 0; r < 6; ++r) {
    sums[r].resize(static_cast<size_t>(limit) + kRoom);
    positions[r].resize(static_cast<size_t>(limit) + kRoom);
    tile.start[r] = static_cast<int32_t>(r) * 11 - 30;
    tile.threshold[r] = thresholds[r];
    tile.hit_sums[r] = sums[r].data();
    tile.hit_positions[r] = positions[r].data();
    tile.limit[r] = limit;
  }
  const gtn::ScanFn scan = p.wide ? kernel.int16.scan : kernel.int8.scan;
  int calls = 0;
  for (int64_t at = 0; at < p.panels; ++calls) {
    tile.panel_begin = at;
    tile.panel_end = p.panels;
    at = scan(&tile);
    REQUIRE(at > tile.panel_begin);  // always some progress
    for (size_t r = 0; r < 6; ++r) {
      const auto n = static_cast<std::ptrdiff_t>(tile.hits[r]);
      REQUIRE(n <= limit + 64);
      hits[r].sums.insert(hits[r].sums.end(), sums[r].begin(), sums[r].begin() + n);
      hits[r].positions.insert(hits[r].positions.end(), positions[r].begin(),
                               positions[r].begin() + n);
      tile.hits[r] = 0;
    }
  }
  return hits;
}

}  // namespace

TEST_CASE("kernels give the hits of plain sums") {
  int compared = 0;
  for (const auto& info : gtn::list_kernels()) {
    if (!info.supported) continue;
    const gtn::Kernel& kernel = gtn::select_kernel(info.name);
    CHECK(std::string(kernel.name) == info.name);
    for (const bool wide : {false, true}) {
      for (const int32_t steps : {1, 2, 7, 33}) {
        for (const int64_t panels : {1, 4}) {
          for (const bool extreme : {false, true}) {
            const Problem p = make(wide, steps, panels, kernel.source_limit_int8, extreme,
                                   static_cast<uint64_t>(steps * 10 + panels));
            // From everything to nothing: the k-th largest sums as thresholds.
            int32_t thresholds[6];
            std::vector<Hits> expected(6);
            for (int r = 0; r < 6; ++r) {
              std::vector<int32_t> all;
              const int32_t start = r * 11 - 30;
              for (int64_t at = 0; at < panels * 64; ++at) {
                all.push_back(p.sum(r, at / 64, static_cast<int>(at % 64), start));
              }
              auto sorted = all;
              std::sort(sorted.begin(), sorted.end());
              const size_t place[6] = {
                  0, 1, sorted.size() / 2, sorted.size() - 5, sorted.size() - 1, sorted.size()};
              thresholds[r] = r == 5 ? INT32_MAX : sorted[place[r]];
              if (r == 0) thresholds[r] = INT32_MIN + 1;
              for (size_t at = 0; at < all.size(); ++at) {
                if (all[at] < thresholds[r]) continue;
                expected[static_cast<size_t>(r)].sums.push_back(all[at]);
                expected[static_cast<size_t>(r)].positions.push_back(static_cast<int32_t>(at));
              }
            }
            for (const int32_t limit : {0, 50, 100000}) {
              const auto hits = run(kernel, p, thresholds, limit);
              for (size_t r = 0; r < 6; ++r) CHECK(hits[r] == expected[r]);
              ++compared;
            }
          }
        }
      }
    }
  }
  CHECK(compared > 0);
}

TEST_CASE("only auto chooses a kernel") {
  CHECK_NOTHROW(gtn::select_kernel("auto"));
  CHECK(std::string(gtn::select_kernel("scalar").name) == "scalar");
  CHECK_THROWS_AS(gtn::select_kernel("sse9"), std::invalid_argument);
  for (const auto& info : gtn::list_kernels()) {
    CHECK(info.reason.empty() == info.supported);
    if (!info.supported) CHECK_THROWS_AS(gtn::select_kernel(info.name), std::runtime_error);
  }
}
