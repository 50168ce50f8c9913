// Every scan kernel that runs here, and emulations of two, against plain sums: bit-equal hits in
// position order, for odd numbers of steps and panels, tight limits, codes at the ends of their
// range, and whatever lies behind the last panel.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/instruction_sets.hpp"
#include "sets_to_test.hpp"

namespace {

constexpr int kLanes = gtn::kPanelLatents;
constexpr int32_t kNoLimit = 1000;  // more hits than any problem here has

struct Hits {
  std::vector<int32_t> sums, positions;
  bool operator==(const Hits&) const = default;
};

// As plain numbers, and as a kernel wants them.
struct Problem {
  bool wide;
  int32_t steps, source_steps;
  int64_t panels;
  std::vector<std::vector<int32_t>> latents;  // [panels * 64][dims], signed
  std::vector<std::vector<int32_t>> sources;  // [tile_sources][dims]
  std::vector<uint8_t> panel_bytes;   // [panels][steps][64][4], then what may be read past it
  std::vector<uint8_t> source_bytes;  // [tile_sources][source_steps][4]
  std::vector<int32_t> start;
  bool constant;  // every row repeats one code

  int dims_per_step() const { return wide ? 2 : 4; }

  int32_t sum(size_t r, int64_t at) const {
    const std::vector<int32_t>&x = latents[static_cast<size_t>(at)], &y = sources[r];
    const auto dims = static_cast<int64_t>(x.size());
    int64_t total = 0;
    if (constant) {
      total = dims * x[0] * y[0];
    } else {
      for (size_t k = 0; k < x.size(); ++k) total += int64_t{x[k]} * y[k];
    }
    if (total != static_cast<int32_t>(total)) throw std::logic_error("a sum leaves int32");
    return static_cast<int32_t>(total);
  }
};

// extreme: ends of the range at random; the others have the largest sums there are, of both signs,
// all positive or all negative.
enum class Codes { random, extreme, aligned, positive, negative };
constexpr Codes kAllCodes[] = {Codes::random, Codes::extreme, Codes::aligned, Codes::positive,
                               Codes::negative};

Problem make(bool wide, int32_t steps, int64_t panels, const gtn::ScanKernel& kernel,
             int source_limit, Codes codes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Problem p{wide, steps, 0, panels, {}, {}, {}, {}, {}, codes >= Codes::aligned};
  p.source_steps = (steps + kernel.step_multiple - 1) / kernel.step_multiple * kernel.step_multiple;
  const auto dims = static_cast<size_t>(steps * p.dims_per_step());
  // int16 within the norm that keeps sums inside int32, as codes are.
  const int wide_limit =
      std::min(32767, static_cast<int>(46000.0 / std::sqrt(static_cast<double>(dims))));
  const auto row = [&](int limit, bool source) {
    std::vector<int32_t> v(dims);
    int sign = random() % 2 ? 1 : -1;
    if (codes == Codes::positive) sign = 1;
    if (codes == Codes::negative) sign = source ? -1 : 1;
    if (p.constant) {
      std::fill(v.begin(), v.end(), sign * limit);
    } else {
      for (int32_t& c : v) {
        c = static_cast<int>(random() % static_cast<uint64_t>(2 * limit + 1)) - limit;
        if (codes == Codes::extreme) c = c < 0 ? -limit : limit;
      }
    }
    return v;
  };
  for (int64_t i = 0; i < panels * kLanes; ++i)
    p.latents.push_back(row(wide ? wide_limit : 127, false));
  for (int r = 0; r < kernel.tile_sources; ++r) {
    p.sources.push_back(row(wide ? wide_limit : source_limit, true));
  }

  const auto put = [&](std::vector<uint8_t>& bytes, size_t step, size_t k, int32_t code) {
    if (wide) {
      const auto value = static_cast<int16_t>(code);
      std::memcpy(&bytes[step * 4 + k % 2 * 2], &value, 2);
    } else {
      bytes[step * 4 + k % 4] = static_cast<uint8_t>(code);
    }
  };
  const auto per_step = static_cast<size_t>(p.dims_per_step());
  const auto n = static_cast<size_t>(steps);
  p.panel_bytes.resize((static_cast<size_t>(panels) * n + gtn::kMostStepMultiple) * kLanes * 4);
  for (size_t i = static_cast<size_t>(panels) * n * kLanes * 4; i < p.panel_bytes.size(); ++i) {
    p.panel_bytes[i] = static_cast<uint8_t>(random());
  }
  for (size_t at = 0; at < p.latents.size(); ++at) {
    for (size_t k = 0; k < dims; ++k) {
      const size_t step = (at / kLanes * n + k / per_step) * kLanes + at % kLanes;
      put(p.panel_bytes, step, k, p.latents[at][k] + (wide ? 0 : 128));
    }
  }
  p.source_bytes.assign(p.sources.size() * static_cast<size_t>(p.source_steps) * 4, 0);
  for (size_t r = 0; r < p.sources.size(); ++r) {
    int32_t total = 0;
    for (size_t k = 0; k < dims; ++k) {
      put(p.source_bytes, r * static_cast<size_t>(p.source_steps) + k / per_step, k,
          p.sources[r][k]);
      total += p.sources[r][k];
    }
    p.start.push_back(wide ? 0 : static_cast<int32_t>(-128 * int64_t{total}));
  }
  return p;
}

std::vector<Hits> run(const gtn::ScanKernel& kernel, const Problem& p,
                      const std::vector<int32_t>& thresholds, int32_t limit) {
  constexpr size_t kRoom = 64 + 16;
  const size_t count = p.sources.size();
  std::vector<Hits> hits(count);
  std::vector<std::vector<int32_t>> sums(count), positions(count);
  gtn::ScanTile tile{};
  tile.panels = p.panel_bytes.data();
  tile.steps = p.steps;
  tile.source_steps = p.source_steps;
  tile.sources = p.source_bytes.data();
  for (size_t r = 0; r < count; ++r) {
    sums[r].resize(static_cast<size_t>(limit) + kRoom);
    positions[r].resize(static_cast<size_t>(limit) + kRoom);
    tile.start[r] = p.start[r];
    tile.threshold[r] = thresholds[r];
    tile.hit_sums[r] = sums[r].data();
    tile.hit_positions[r] = positions[r].data();
    tile.limit[r] = limit;
  }
  for (int64_t at = 0; at < p.panels;) {
    tile.panel_begin = at;
    tile.panel_end = p.panels;
    at = kernel.scan(&tile);
    REQUIRE(at > tile.panel_begin);  // always some progress
    REQUIRE(at <= p.panels);
    bool full = at == p.panels;
    for (size_t r = 0; r < count; ++r) {
      const auto n = static_cast<std::ptrdiff_t>(tile.hits[r]);
      REQUIRE(n <= limit + kLanes);
      full = full || n > limit;
      hits[r].sums.insert(hits[r].sums.end(), sums[r].begin(), sums[r].begin() + n);
      hits[r].positions.insert(hits[r].positions.end(), positions[r].begin(),
                               positions[r].begin() + n);
      tile.hits[r] = 0;
    }
    REQUIRE(full);  // no early return without need
  }
  return hits;
}

// From everything to nothing: the k-th largest sum as threshold, another k for each source.
int32_t threshold_for(size_t r, std::vector<int32_t> sums) {
  std::sort(sums.begin(), sums.end());
  const size_t n = sums.size();
  switch (r % 8) {
    case 0:
      return INT32_MIN + 1;
    case 1:
      return sums[0];
    case 2:
      return sums[1];
    case 3:
      return sums[n / 2];
    case 4:
      return sums[n - 5];
    case 5:
      return sums[n - 1];
    case 6:
      return sums[n - 1] + (sums[n - 1] < INT32_MAX);
    default:
      return INT32_MAX;
  }
}

struct Expected {
  std::vector<int32_t> thresholds;
  std::vector<Hits> hits;
};

Expected expect(const Problem& p) {
  Expected e;
  e.hits.resize(p.sources.size());
  for (size_t r = 0; r < p.sources.size(); ++r) {
    std::vector<int32_t> all;
    for (int64_t at = 0; at < p.panels * kLanes; ++at) all.push_back(p.sum(r, at));
    e.thresholds.push_back(threshold_for(r + static_cast<size_t>(p.steps), all));
    for (size_t at = 0; at < all.size(); ++at) {
      if (all[at] < e.thresholds[r]) continue;
      e.hits[r].sums.push_back(all[at]);
      e.hits[r].positions.push_back(static_cast<int32_t>(at));
    }
  }
  return e;
}

// Without other sources' hits to make the kernel look.
void check_alone(const gtn::ScanKernel& kernel, const Problem& p, const Expected& expected,
                 size_t r) {
  std::vector<int32_t> thresholds(p.sources.size(), INT32_MAX);
  thresholds[r] = expected.thresholds[r];
  CHECK(run(kernel, p, thresholds, kNoLimit)[r] == expected.hits[r]);
}

}  // namespace

TEST_CASE("every kernel equals plain sums") {
  for (const auto& set : sets_to_test()) {
    const gtn::Kernel& k = set.scan;
    CAPTURE(k.name);
    for (const bool wide : {false, true}) {
      const gtn::ScanKernel& scan = wide ? k.int16 : k.int8;
      REQUIRE(scan.tile_sources <= gtn::kMostTileSources);
      REQUIRE(scan.step_multiple <= gtn::kMostStepMultiple);
      for (const int32_t steps : {1, 2, 3, 7, 16, 33}) {
        for (const int64_t panels : {1, 2, 5}) {
          for (const Codes codes : kAllCodes) {
            const Problem p = make(wide, steps, panels, scan, k.source_limit_int8, codes,
                                   static_cast<uint64_t>(steps * 10 + panels));
            const Expected expected = expect(p);
            for (const int32_t limit : {0, 50, kNoLimit}) {
              CHECK(run(scan, p, expected.thresholds, limit) == expected.hits);
            }
            for (size_t r = 0; r < p.sources.size(); ++r) check_alone(scan, p, expected, r);
          }
        }
      }
    }
  }
  CHECK(emulated_faults() == 0);
}

// Where a sum less a threshold leaves int32, and where sums nearly do.
TEST_CASE("kernels take as many steps as there can be") {
  for (const auto& set : sets_to_test()) {
    const gtn::Kernel& k = set.scan;
    CAPTURE(k.name);
    const int32_t few = k.source_limit_int8 == 127 ? 16600 : 33200;
    for (const Codes codes : {Codes::aligned, Codes::positive, Codes::negative}) {
      const int32_t steps = codes == Codes::aligned ? 2 * few : few;
      const Problem p = make(false, steps, 1, k.int8, k.source_limit_int8, codes, 5);
      const Expected expected = expect(p);
      CHECK(run(k.int8, p, expected.thresholds, kNoLimit) == expected.hits);
      for (const size_t r : {0, 1, 2}) check_alone(k.int8, p, expected, r);
    }
  }
}

// A machine that is known to have a kernel must not skip it: a space-separated list of names.
TEST_CASE("the kernels of GTN_REQUIRED_KERNELS run here") {
  const char* required = std::getenv("GTN_REQUIRED_KERNELS");
  std::istringstream names(required ? required : "scalar");
  for (std::string name; names >> name;) CHECK(gtn::select_instruction_set(name).name == name);
}

TEST_CASE("only auto chooses an instruction set") {
  CHECK_NOTHROW(gtn::select_instruction_set("auto"));
  CHECK(std::string(gtn::select_instruction_set("scalar").name) == "scalar");
  CHECK_THROWS_AS(gtn::select_instruction_set("sse9"), std::invalid_argument);
  for (const auto& set : gtn::instruction_sets()) {
    CHECK((set.built || !set.supported()));
    CHECK((set.exact != nullptr && set.tree != nullptr));
    if (set.supported()) {
      CHECK(&gtn::select_instruction_set(set.name) == &set);
      CHECK(std::string(set.scan.name) == set.name);
      CHECK((set.scan.int8.scan != nullptr && set.scan.int16.scan != nullptr));
    } else {
      CHECK_THROWS_AS(gtn::select_instruction_set(set.name), std::runtime_error);
    }
  }
}
