// The scan kernels of the cuda backend, in the emulator: every bound of every kernel equals that of
// a plain loop, bit for bit; where latents lie (slots.hpp); how blocks share a scan and what a
// block keeps in shared memory; and that a bound is one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cuda/instructions.hpp"
#include "cuda/largest_sums.hpp"
#include "cuda/scan.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_rate.hpp"
#include "cuda/scan_walk.hpp"
#include "device_array.hpp"

namespace {

using emulation::Array;
using emulation::Setting;
using gtn::cuda::CodeOrder;
using gtn::cuda::CodeRow;
using gtn::cuda::GroupCode;
using gtn::cuda::ScanKernel;
using gtn::cuda::ScanTask;
using gtn::cuda::Slots;
using gtn::cuda::SourceCode;

// extreme: ends of the range at random; the others have the largest sums there are, of both signs,
// all positive or all negative.
enum class Codes { random, extreme, aligned, positive, negative };

struct Shape {
  int32_t dim, tiles, superpanels, sources;
  Codes codes = Codes::random;
  uint64_t seed = 1;
  bool named = false;  // groups have names; of two tiles
};

struct Bound {
  float upper;
  int32_t others;  // 0 where groups have no names
  bool operator==(const Bound&) const = default;
};

float rounded_step(std::mt19937_64& random) {  // 12 significant bits, as steps have
  return std::ldexp(static_cast<float>(random() % 2048 + 2048), -20);
}

// The codes of rows in the order of tiles: 128 rows of 64 columns, or at the end of 32, one after
// another, in which bits of the address from 4 on are flipped by those from 7 on, as the PTX manual
// says of the swizzles of 64 and of 32 bytes.
std::vector<int8_t> in_tiles(const std::vector<int8_t>& rows, int32_t stride) {
  std::vector<int8_t> placed(rows.size());
  for (size_t at = 0; at < rows.size(); ++at) {
    const size_t row = at / stride, column = at % stride, chunk = column / 64 * 64;
    const size_t width = std::min<size_t>(64, stride - chunk);
    size_t address = row % 128 * width + column % 64;
    address ^= (address >> 7 & (width / 16 - 1)) << 4;
    placed[row / 128 * 128 * stride + 128 * chunk + address] = rows[at];
  }
  return placed;
}

struct Problem {
  Shape shape;
  int32_t stride, rows, cells = 3;
  std::vector<int8_t> source_codes, latent_codes;
  std::vector<SourceCode> sources;
  std::vector<float> base;
  std::vector<GroupCode> groups;

  explicit Problem(const Shape& given) : shape(given) {
    std::mt19937_64 random(shape.seed);
    const auto unit = [&] { return static_cast<float>(random() % 4096) / 4096; };
    stride = (shape.dim + gtn::cuda::kStrideBytes - 1) / gtn::cuda::kStrideBytes *
             gtn::cuda::kStrideBytes;
    rows = (shape.sources + gtn::cuda::kSourceRows - 1) / gtn::cuda::kSourceRows *
           gtn::cuda::kSourceRows;
    const auto fill = [&](std::vector<int8_t>& codes, int64_t live, int64_t all, bool source) {
      codes.assign(static_cast<size_t>(all * stride), 0);
      for (int64_t r = 0; r < live; ++r) {
        // Slots that are dead or padding have zeros; not where all sums are to be negative.
        if (!source && shape.codes != Codes::negative && random() % 8 == 0) continue;
        const int sign = shape.codes == Codes::positive   ? 1
                         : shape.codes == Codes::negative ? source ? 1 : -1
                         : random() % 2 == 0              ? 1
                                                          : -1;
        for (int32_t k = 0; k < shape.dim; ++k) {
          int code = static_cast<int>(random() % 255) - 127;
          if (shape.codes == Codes::extreme) code = code < 0 ? -127 : 127;
          if (shape.codes >= Codes::aligned) code = sign * 127;
          codes[static_cast<size_t>(r * stride + k)] = static_cast<int8_t>(code);
        }
      }
    };
    fill(source_codes, shape.sources, rows, true);
    const int64_t slots = int64_t{shape.superpanels} * Slots{shape.tiles}.superpanel_slots();
    fill(latent_codes, slots, slots, false);
    for (int32_t s = 0; s < rows; ++s) sources.push_back({rounded_step(random), unit(), unit()});
    for (int32_t i = 0; i < cells * rows; ++i) base.push_back(unit() - 0.5f);
    for (int32_t g = 0; g < shape.superpanels * gtn::cuda::kTileGroups; ++g)
      groups.push_back({rounded_step(random), unit(), unit(), static_cast<int32_t>(random() % 3)});
  }

  // By a plain loop.
  std::vector<Bound> expected() const {
    const Slots slots{shape.tiles};
    std::vector<Bound> bounds;
    for (int32_t s = 0; s < shape.sources; ++s) {
      for (size_t g = 0; g < groups.size(); ++g) {
        std::vector<int32_t> sums;
        for (int32_t m = 0; m < slots.group_members(); ++m) {
          const int8_t* a = &source_codes[static_cast<size_t>(s) * stride];
          const int8_t* b = &latent_codes[static_cast<size_t>(
              slots.slot_of(static_cast<int64_t>(g), m) * stride)];
          int32_t sum = 0;
          for (int32_t k = 0; k < shape.dim; ++k) sum += a[k] * b[k];
          sums.push_back(sum);
        }
        const auto upper_of = [&](int32_t sum) {
          return gtn::cuda::upper_cosine(sum, base[static_cast<size_t>(groups[g].cell * rows + s)],
                                         groups[g], sources[s]);
        };
        if (!shape.named) {
          bounds.push_back({upper_of(*std::max_element(sums.begin(), sums.end())), 0});
          continue;
        }
        for (int32_t m = 0; m < 32; ++m) sums[m] = sums[m] / 32 * 32 - (sums[m] % 32 < 0 ? 32 : 0);
        int32_t name = 31;  // the last of the largest
        for (int32_t m = 30; m >= 0; --m) name = sums[m] > sums[name] ? m : name;
        const float upper = upper_of(sums[name] + 31);
        sums.erase(sums.begin() + name);
        const float others = upper_of(*std::max_element(sums.begin(), sums.end()) + 31);
        bounds.push_back({upper, gtn::cuda::pack_others(others, name)});
      }
    }
    return bounds;
  }

  std::vector<Bound> scan(const ScanKernel& kernel, int multiprocessors) const {
    const auto placed = [&](const std::vector<int8_t>& codes) {
      return kernel.order == CodeOrder::tiles ? in_tiles(codes, stride) : codes;
    };
    const Array<int8_t> x(placed(source_codes)), y(placed(latent_codes));
    const Array<SourceCode> s(sources);
    const Array<GroupCode> g(groups);
    const Array<float> b(base);
    const Array<float> upper(std::vector<float>(groups.size() * shape.sources, -99.0f));
    const Array<int32_t> others(std::vector<int32_t>(groups.size() * shape.sources, -99));
    kernel.scan({x.data(), s.data(), b.data(), y.data(), g.data(), upper.data(),
                 shape.named ? others.data() : nullptr, shape.sources, rows, stride,
                 shape.superpanels, Slots{shape.tiles}},
                multiprocessors, nullptr);
    const std::vector<float> uppers = upper.get();
    const std::vector<int32_t> packed = others.get();
    std::vector<Bound> got;
    for (size_t i = 0; i < uppers.size(); ++i)
      got.push_back({uppers[i], shape.named ? packed[i] : 0});
    return got;
  }
};

// A kernel on a device of some compute capability, which says how much shared memory there is.
struct Way {
  const ScanKernel* kernel;
  int capability;
};
std::vector<Way> ways(const Shape& shape) {
  std::vector<Way> all = {{&gtn::cuda::scan_dp4a, 80},
                          {&gtn::cuda::scan_mma, 75},
                          {&gtn::cuda::scan_mma, 80},
                          {&gtn::cuda::scan_wgmma, 90}};
  // Narrow rows are scanned alike wherever there is enough.
  if (shape.dim > 224 || shape.named) {
    all.push_back({&gtn::cuda::scan_mma, 86});
    all.push_back({&gtn::cuda::scan_mma, 90});
  }
  return all;
}

void check(const Way& way, const Problem& problem, const std::vector<Bound>& expected,
           int multiprocessors) {
  CAPTURE(way.kernel->name);
  CAPTURE(way.capability);
  CAPTURE(problem.shape.dim);
  CAPTURE(problem.shape.tiles);
  CAPTURE(problem.shape.superpanels);
  CAPTURE(problem.shape.sources);
  CAPTURE(static_cast<int>(problem.shape.codes));
  const Setting capability("GTN_EMULATOR_CAPABILITY", std::to_string(way.capability));
  const std::vector<Bound> got = problem.scan(*way.kernel, multiprocessors);
  REQUIRE(got.size() == expected.size());
  const auto wrong = std::mismatch(got.begin(), got.end(), expected.begin());
  CAPTURE(wrong.first - got.begin());
  CHECK(wrong.first == got.end());
}

void check_all(const Shape& shape, int multiprocessors = 2) {
  const Problem problem(shape);
  const std::vector<Bound> expected = problem.expected();
  for (const Way& way : ways(shape)) check(way, problem, expected, multiprocessors);
}

}  // namespace

TEST_CASE("slots: each holds one member of one group") {
  for (int32_t tiles = 1; tiles <= 8; ++tiles) {
    const Slots slots{tiles};
    std::set<int64_t> seen;
    for (int64_t group = 0; group < 24; ++group) {
      for (int32_t member = 0; member < slots.group_members(); ++member) {
        const int64_t slot = slots.slot_of(group, member);
        CHECK(seen.insert(slot).second);
        CHECK(slots.group_of(slot) == group);
        CHECK(slots.member_of(slot) == member);
      }
    }
    CHECK(*seen.begin() == 0);
    CHECK(*seen.rbegin() == 3 * slots.superpanel_slots() - 1);
    CHECK(static_cast<int32_t>(seen.size()) == 3 * slots.superpanel_slots());
  }
  // Far out, beyond 32 bits.
  const Slots slots{8};
  const int64_t group = (int64_t{1} << 33) + 5;
  CHECK(slots.group_of(slots.slot_of(group, 77)) == group);
  CHECK(slots.member_of(slots.slot_of(group, 77)) == 77);
}

TEST_CASE("codes: each of a row has its place in either order") {
  for (const int32_t stride : {32, 64, 96, 256, 288}) {
    std::vector<int8_t> rows(static_cast<size_t>(256) * stride);
    std::mt19937_64 random(9);
    for (int8_t& code : rows) code = static_cast<int8_t>(random() % 255);
    for (const CodeOrder order : {CodeOrder::rows, CodeOrder::tiles}) {
      const std::vector<int8_t> placed = order == CodeOrder::tiles ? in_tiles(rows, stride) : rows;
      int64_t wrong = 0;
      for (int64_t r = 0; r < 256; ++r) {
        const CodeRow<const int8_t> row(placed.data(), order, stride, r);
        for (int32_t k = 0; k < stride; ++k)
          wrong += *row.at(k) != rows[static_cast<size_t>(r * stride + k)] ||
                   row.at(k) - row.at(k - k % 16) != k % 16;  // pieces stay together
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("scans: every number of dimensions") {
  for (int32_t dim = 1; dim <= 300; dim += dim < 40 ? 3 : 13)
    check_all({dim, 1, 1 + dim % 3, 40 + dim % 50, dim % 2 ? Codes::extreme : Codes::random});
  for (const int32_t dim : {32, 33, 64, 65, 128, 129, 224, 256, 257, 288, 320})
    check_all({dim, 2, 1, 17});
}

TEST_CASE("scans: every number of tiles") {
  for (int32_t tiles = 1; tiles <= 8; ++tiles) {
    check_all({5 * tiles, tiles, 9 - tiles, 30});
    check_all({200 + 20 * tiles, tiles, tiles % 2 + 1, 30});
  }
}

TEST_CASE("scans: windows of few sources and of many") {
  for (const int32_t sources : {1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 500, 600}) {
    check_all({20, 1, 3, sources});
    check_all({260, 1, 1, sources});
  }
  // More tiles of sources than blocks: blocks take one item after another.
  for (const int32_t dim : {60, 200, 300}) check_all({dim, 1, 2, 800}, 1);
}

TEST_CASE("scans: many superpanels, shared by many blocks or by few") {
  for (const int multiprocessors : {1, 3, 40}) {
    for (const int32_t dim : {32, 270}) {
      const Problem problem({dim, 1, 23, 300});
      const std::vector<Bound> expected = problem.expected();
      for (const Way& way : {Way{&gtn::cuda::scan_mma, 80}, Way{&gtn::cuda::scan_wgmma, 90}})
        check(way, problem, expected, multiprocessors);
    }
  }
}

TEST_CASE("scans: sums at the ends of their range, and negative maxima") {
  for (const Codes codes : {Codes::extreme, Codes::aligned, Codes::positive, Codes::negative}) {
    check_all({100, 2, 2, 30, codes});
    check_all({300, 1, 2, 30, codes});
  }
}

TEST_CASE("scans: rows so wide that sources do not stay in shared memory") {
  for (const int32_t dim : {900, 1056, 3000}) check_all({dim, 2, 1, 70, Codes::extreme});
}

TEST_CASE("scans: groups with names") {
  for (const int32_t dim : {9, 64, 520, 768})
    check_all({dim, 2, 1, 30 + dim % 7, Codes::random, 7, true});
  check_all({4096, 2, 1, 20, Codes::extreme, 8, true});
  // Sums that are equal, all zero or all negative.
  for (const Codes codes : {Codes::extreme, Codes::aligned, Codes::positive, Codes::negative}) {
    check_all({1, 2, 1, 40, codes, 9, true});
    check_all({100, 2, 1, 40, codes, 9, true});
  }
  check_all({40, 2, 5, 260, Codes::random, 10, true});
}

TEST_CASE("a packed bound of others is one, and not far above") {
  std::mt19937_64 random(4);
  std::vector<float> bounds = {0.0f, -0.0f, 1.0f, -1.0f, -INFINITY, 1e-44f, -1e-44f};
  for (int i = 0; i < 10000; ++i)
    bounds.push_back(std::ldexp(static_cast<float>(random() % 4095) - 2047.0f,
                                -static_cast<int>(random() % 60)));
  for (const float bound : bounds) {
    const auto member = static_cast<int32_t>(random() % 32);
    const int32_t packed = gtn::cuda::pack_others(bound, member);
    CHECK(gtn::cuda::name_of_others(packed) == member);
    CHECK(gtn::cuda::upper_of_others(packed) >= bound);
    if (std::isinf(bound)) CHECK(gtn::cuda::upper_of_others(packed) == bound);
    if (!std::isinf(bound))
      CHECK(gtn::cuda::upper_of_others(packed) <= bound + 4e-6f * std::fabs(bound) + 1e-43f);
  }
}

TEST_CASE("scans: any order of threads, and of what is asynchronous") {
  for (int seed = 1; seed <= 4; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    for (const int32_t dim : {40, 250, 330})
      check_all({dim, 2, 2, 90, Codes::random, static_cast<uint64_t>(seed)}, 1);
  }
}

TEST_CASE("blocks share a scan: every superpanel once for every tile of sources") {
  for (const int32_t source_tiles : {1, 2, 5, 16, 70, 300}) {
    for (const int32_t superpanels : {1, 2, 7, 100, 1001}) {
      for (const int32_t blocks : {1, 3, 132, 264}) {
        const gtn::cuda::ScanWalk walk =
            gtn::cuda::share_scan(source_tiles, superpanels, 2, blocks);
        std::vector<int> done(static_cast<size_t>(source_tiles) * superpanels);
        for (int32_t i = 0; i < walk.items(); ++i) {
          const gtn::cuda::ScanItem item = walk.item(i);
          for (int32_t p = item.begin; p < item.end; ++p)
            ++done[static_cast<size_t>(item.source_tile) * superpanels + p];
        }
        CHECK(std::all_of(done.begin(), done.end(), [](int times) { return times == 1; }));
      }
    }
  }
  // Evenly: 132 blocks, of which none has much more than its part.
  for (const int32_t source_tiles : {1, 2, 3, 4, 7, 8, 16, 61, 70, 131, 133, 200}) {
    const gtn::cuda::ScanWalk walk = gtn::cuda::share_scan(source_tiles, 10000, 2, 132);
    std::vector<int64_t> load(132);
    for (int32_t i = 0; i < walk.items(); ++i)
      load[static_cast<size_t>(i % 132)] += walk.item(i).end - walk.item(i).begin;
    CAPTURE(source_tiles);
    CHECK(*std::max_element(load.begin(), load.end()) < 1.08 * 10000.0 * source_tiles / 132);
  }
}

TEST_CASE("what a block keeps in shared memory fits, and is all where it can be") {
  for (int32_t stride = 32; stride <= 8192; stride += 32) {
    for (const int32_t kilobytes : {64, 99, 163, 227}) {
      const gtn::cuda::ChunkPlan plan = gtn::cuda::plan_chunks(stride, kilobytes * 1024);
      CHECK(plan.shared() <= kilobytes * 1024);
      CHECK(plan.chunks * gtn::cuda::kChunk >= stride);
      CHECK(plan.stages == (kilobytes == 64 ? 2 : gtn::cuda::kMostStages));
      CHECK(plan.kept >= 0);
      CHECK(plan.kept <= plan.chunks);
    }
  }
  CHECK(gtn::cuda::plan_chunks(768, 227 * 1024).kept == 12);
  CHECK(gtn::cuda::plan_chunks(512, 163 * 1024).kept == 8);
}

// Only that they can be had: what they are is the emulator's.
TEST_CASE("rates") {
  for (const int capability : {75, 90}) {
    const Setting setting("GTN_EMULATOR_CAPABILITY", std::to_string(capability));
    for (const double rate : {gtn::cuda::int8_matrix_rate(1e-3), gtn::cuda::fp16_matrix_rate(1e-3),
                              gtn::cuda::copy_rate(1 << 20, 1e-3)}) {
      CHECK(rate > 0);
      CHECK(std::isfinite(rate));
    }
    const gtn::cuda::ScanRate rate =
        gtn::cuda::scan_rate(gtn::cuda::scan_mma, {40, 1000, 100, 2}, 1e-3);
    CHECK(rate.operations > 0);
    // 1000 latents are four superpanels of 256 slots, 64 bytes each; 32 groups of bounds.
    const double operations = 2.0 * 40 * 1024 * 100, bytes = 64.0 * 1024 + 4.0 * 32 * 100;
    CHECK(rate.bytes / rate.operations == doctest::Approx(bytes / operations));
  }
}

// Exact sums of float32 products, in long double: steps have 12 bits, the others are short.
TEST_CASE("a bound is not below what it bounds, and not far above") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 100000; ++i) {
    const auto number = [&](double most) {
      return static_cast<float>(most * static_cast<double>(random() >> 11) * 0x1p-53);
    };
    const GroupCode g{rounded_step(random), number(0.1), number(1.5), 0};
    const SourceCode s{rounded_step(random), number(1.1), number(0.1)};
    const float base = number(2) - 1.0f;
    const int32_t sum = static_cast<int32_t>(random() % 200000000) - 100000000;
    const long double exact = static_cast<long double>(s.step) * g.step * sum + base +
                              static_cast<long double>(s.coded_norm) * g.residual +
                              static_cast<long double>(s.residual) * g.radius;
    const float upper = gtn::cuda::upper_cosine(sum, base, g, s);
    const long double size =
        std::fabs(exact) + 2 + std::fabs(static_cast<double>(sum)) * s.step * g.step;
    CHECK(upper >= exact);
    CHECK(upper <= exact + 1e-6L * size);
  }
}
