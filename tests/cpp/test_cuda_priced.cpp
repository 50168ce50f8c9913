// Optimal transport's search on an emulated device: lists keep their promise (priced_bench.hpp),
// and are the best latents by a plain computation in float64, however bounds tie or fill buffers.
// Exact scores of the device are the host's.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/kernel_trust.hpp"
#include "cuda/priced_cuda.hpp"
#include "device_array.hpp"
#include "priced_bench.hpp"

using emulation::Setting;
using gtn::cuda::Options;
using gtn::cuda::PricedCudaSearch;
using gtn::cuda::PricedDeviceStats;
using gtn::cuda::PricedPlan;
using priced::Bench;
using priced::kSources;
using reference::Kind;

namespace {

PricedCudaSearch search_of(Bench& bench, PricedDeviceStats& stats, const Options& options = {}) {
  return {options,
          bench.group.scorer,
          bench.group.grid,
          bench.group.distinct,
          bench.prices,
          bench.parallel,
          stats};
}

std::vector<gtn::SourceRow> all_sources() {
  std::vector<gtn::SourceRow> sources(kSources);
  for (int64_t i = 0; i < kSources; ++i) sources[i] = static_cast<gtn::SourceRow>(i);
  return sources;
}

// Lists are the best by value within what float32 can tell, and `outside` is about the next value.
void check_best(Bench& bench, PricedCudaSearch& search, int64_t depth) {
  const gtn::DistinctLatents& distinct = bench.group.distinct;
  const int64_t count = distinct.count(), length = std::min(depth, count);
  const std::vector<gtn::SourceRow> sources = all_sources();
  std::vector<gtn::PricedList> lists(kSources);
  search.search(sources, std::vector<int64_t>(kSources, gtn::kNothing), depth, lists);
  const double unit = bench.group.x.length * bench.group.y.length;
  for (int64_t i = 0; i < kSources; ++i) {
    CAPTURE(i);
    std::vector<double> values(count);
    double largest = 1.0;
    for (gtn::LatentId id = 0; id < count; ++id) {
      const double price = bench.group.grid.real(bench.prices.of(id)) / unit;
      values[id] = bench.group.scorer.score(distinct.row(id), 1.0, sources[i]) / unit - price;
      largest = std::max(largest, std::fabs(price));
    }
    const double close = 4.0 * static_cast<double>(bench.x.dim + 16) * 0x1p-24 * largest;
    std::vector<double> listed;
    for (const gtn::PricedCandidate& c : lists[i].items) listed.push_back(values[c.id]);
    std::sort(values.begin(), values.end(), std::greater<>());
    std::sort(listed.begin(), listed.end(), std::greater<>());
    REQUIRE(std::ssize(listed) == length);
    int64_t far = 0;
    for (int64_t t = 0; t < length; ++t) far += !(listed[t] >= values[t] - close);
    CHECK(far == 0);
    if (length == count) {
      CHECK(lists[i].outside == gtn::kNothing);
    } else {
      const double outside = bench.group.grid.real(lists[i].outside) / unit;
      CHECK(outside >= values[length] - 1e-12);
      CHECK(outside <= values[length] + close);
    }
  }
}

}  // namespace

TEST_CASE("optimal transport on a device: lists keep their promise while prices rise") {
  for (const Kind kind : {Kind::gaussian, Kind::off_centre, Kind::tight_clusters, Kind::heavy,
                          Kind::repeated, Kind::wide}) {
    for (const int64_t dim : {1, 3, 16, 17, 130}) {
      CAPTURE(dim);
      Bench bench(kind, 700, dim);
      PricedDeviceStats stats;
      PricedCudaSearch search = search_of(bench, stats);
      std::vector<int64_t> before(kSources, gtn::kNothing);
      // The grid's prices are at most 128 times its scores.
      for (const double most : {0.0, 1e-4, 0.01, 1.0, 100.0}) {
        bench.raise_prices(search, most);
        bench.check(search, before);
      }
      bench.check(search, before, 650);  // of dear latents too, whose prices float32 rounds most
      CHECK(stats.products > 0);
      CHECK(!search.refine());
    }
  }
}

TEST_CASE("optimal transport on a device: lists are the best latents, of any length") {
  for (const Kind kind : {Kind::gaussian, Kind::lattice, Kind::repeated}) {
    for (const int64_t n : {20, 31, 32, 33, 64, 65, 2100}) {
      CAPTURE(n);
      Bench bench(kind, n, 3);
      PricedDeviceStats stats;
      PricedCudaSearch search = search_of(bench, stats);
      for (const int64_t depth : {1, 8, 64, 500}) {
        CAPTURE(depth);
        check_best(bench, search, depth);
      }
      bench.raise_prices(search, 0.1);
      check_best(bench, search, 8);
    }
  }
}

TEST_CASE("optimal transport on a device: many prices rise at once") {
  Bench bench(Kind::gaussian, 30000, 2);  // more than are told one by one
  PricedDeviceStats stats;
  PricedCudaSearch search = search_of(bench, stats);
  bench.raise_prices(search, 0.1);
  check_best(bench, search, 8);
  std::vector<int64_t> before(kSources, gtn::kNothing);
  const int64_t most = gtn::cuda::kMostPricedDepth;
  bench.check(search, before, most);
  std::vector<gtn::PricedList> lists(1);
  search.search(std::vector<gtn::SourceRow>{0}, before, most + 1, lists);
  CHECK(std::ssize(lists[0].items) == most);
}

TEST_CASE("optimal transport on a device: bounds that are too low end the run") {
  Bench bench(Kind::gaussian, 700, 16);
  PricedDeviceStats stats;
  PricedCudaSearch search = search_of(bench, stats);
  std::vector<int64_t> prices(700);
  std::vector<int32_t> owners(700);
  bench.prices.members([&](gtn::Rank rank, int64_t price, int32_t owner) {
    prices[rank.value] = price;
    owners[rank.value] = owner;
  });
  bench.raise_prices(search, 1.0);
  std::vector<int64_t> before(kSources, gtn::kNothing);
  bench.check(search, before);
  // As a kernel that subtracts too much: the device is not told that prices fell.
  bench.prices.restore(prices, owners, 0);
  std::vector<gtn::PricedList> lists(kSources);
  CHECK_THROWS_WITH_AS(search.search(all_sources(), before, 8, lists),
                       doctest::Contains("made wrong scores"), gtn::cuda::Error);
}

TEST_CASE("optimal transport on a device: exact scores are the host's, to the bit") {
  for (const Kind kind : {Kind::gaussian, Kind::off_centre, Kind::heavy, Kind::repeated}) {
    for (const int64_t dim : {1, 7, 8, 9, 40}) {
      CAPTURE(dim);
      Bench bench(kind, 300, dim);
      for (const bool fits : {true, false}) {
        Options options;
        PricedPlan plan(bench.group.scorer.latents(), bench.group.distinct.count(),
                        bench.group.scorer.sources());
        if (!fits) options.memory = plan.least_bytes();
        PricedDeviceStats stats;
        PricedCudaSearch search = search_of(bench, stats, options);
        bench.raise_prices(search, 0.1);
        std::vector<gtn::PricedList> lists(kSources);
        search.search(all_sources(), std::vector<int64_t>(kSources, gtn::kNothing), 100, lists);
        int64_t listed = 0, inexact = 0, wrong = 0;
        for (int64_t i = 0; i < kSources; ++i) {
          for (const gtn::PricedCandidate& c : lists[i].items) {
            const int64_t row = bench.group.distinct.row(c.id);
            const auto source = static_cast<gtn::SourceRow>(i);
            const int64_t score = bench.group.grid.of(bench.group.scorer.score(row, 1.0, source));
            ++listed;
            inexact += !c.exact;
            wrong += fits ? c.score != score : c.score < score;
          }
        }
        CHECK(listed == kSources * std::min<int64_t>(100, bench.group.distinct.count()));
        CHECK(wrong == 0);
        CHECK(inexact == (fits ? 0 : listed));
        CHECK(stats.scores == (fits ? static_cast<double>(listed) : 0.0));
      }
    }
  }
}

TEST_CASE("optimal transport on a device: an exact score that is wrong ends the run") {
  Bench bench(Kind::gaussian, 700, 16);
  PricedDeviceStats stats;
  PricedCudaSearch search = search_of(bench, stats);
  // The last bits of the host's latents change, below what bounds in float32 see.
  for (float& v : bench.x.f32) v = std::nextafter(v, 0.0f);
  std::vector<gtn::PricedList> lists(kSources);
  const std::vector<int64_t> before(kSources, gtn::kNothing);
  CHECK_THROWS_WITH_AS(search.search(all_sources(), before, 8, lists),
                       doctest::Contains("made wrong scores"), gtn::cuda::Error);
  Options options;  // no exact scores on the device
  options.memory = PricedPlan(bench.group.scorer.latents(), bench.group.distinct.count(),
                              bench.group.scorer.sources())
                       .least_bytes();
  for (float& v : bench.x.f32) v = std::nextafter(v, 2.0f * v);
  PricedCudaSearch bounds_alone = search_of(bench, stats, options);
  for (float& v : bench.x.f32) v = std::nextafter(v, 0.0f);
  CHECK_NOTHROW(bounds_alone.search(all_sources(), before, 8, lists));
}

TEST_CASE("optimal transport on a device: a plain kernel takes the place of a wrong one") {
  for (const Kind kind : {Kind::gaussian, Kind::lattice}) {
    for (const int64_t n : {31, 64, 65, 700}) {
      CAPTURE(n);
      gtn::cuda::forget_verdicts();
      Bench bench(kind, n, 5);
      Options options;
      std::vector<std::string> warnings;
      options.warn = [&](const std::string& text) { warnings.push_back(text); };
      PricedDeviceStats stats;
      PricedCudaSearch search = search_of(bench, stats, options);
      std::vector<gtn::PricedList> expected(kSources), lists(kSources);
      const std::vector<int64_t> before(kSources, gtn::kNothing);
      search.search(all_sources(), before, 8, expected);
      {
        const Setting lie("GTN_EMULATOR_LIE_FLOAT", "1");  // the scan, not the selection
        CHECK_THROWS_WITH_AS(search.search(all_sources(), before, 8, lists),
                             "the search kernel float32 is wrong on cuda:0: it found other bounds "
                             "than the selection",
                             gtn::cuda::WrongKernel);
      }
      CHECK(warnings.empty());
      PricedDeviceStats of_plain;
      PricedCudaSearch plain = search_of(bench, of_plain, options);
      plain.search(all_sources(), before, 8, lists);
      for (int64_t i = 0; i < kSources; ++i) {
        CHECK(lists[i].outside == expected[i].outside);
        REQUIRE(lists[i].items.size() == expected[i].items.size());
        for (size_t t = 0; t < lists[i].items.size(); ++t) {
          CHECK(lists[i].items[t].id == expected[i].items[t].id);
          CHECK(lists[i].items[t].score == expected[i].items[t].score);
        }
      }
      search_of(bench, of_plain, options);  // as another group of the run
      REQUIRE(warnings.size() == 1);
      CHECK(warnings[0].find("the search kernel float32 is wrong on cuda:0 (it found ") == 0);
      CHECK(of_plain.kernel_fault == "float32: it found other bounds than the selection");
      const Setting lie("GTN_EMULATOR_LIE_FLOAT", "1");  // nothing takes the plain kernel's place
      CHECK_THROWS_WITH_AS(plain.search(all_sources(), before, 8, lists),
                           doctest::Contains("made wrong scores"), gtn::cuda::Error);
    }
  }
  gtn::cuda::forget_verdicts();
}

TEST_CASE("optimal transport on a device: memory bounds the window, or refuses") {
  Bench bench(Kind::gaussian, 500, 40);
  const PricedPlan plan(bench.group.scorer.latents(), bench.group.distinct.count(),
                        bench.group.scorer.sources());
  CHECK(plan.window == 500);
  for (const char* arena : {"0", "1"}) {
    const Setting arenas("GTN_CUDA_ARENA", arena);
    Options options;
    options.memory = plan.least_bytes();
    PricedDeviceStats stats;
    {
      PricedCudaSearch search = search_of(bench, stats, options);
      check_best(bench, search, 300);
    }
    CHECK(stats.device_bytes <= options.memory);
    CHECK(stats.device_bytes > 500 * 40 * 4);
    CHECK(stats.scores == 0.0);
    options.memory = plan.bytes(256);  // rows too, in windows that are smaller than all sources
    {
      PricedCudaSearch search = search_of(bench, stats, options);
      check_best(bench, search, 300);
    }
    CHECK(stats.device_bytes <= options.memory);
    CHECK(stats.scores > 0.0);
    options.memory = plan.least_bytes();
    stats = {};
    options.memory -= 1;
    const std::string text = "memory must be at least " + std::to_string(plan.least_bytes()) +
                             " bytes for this input, got " + std::to_string(options.memory);
    CHECK_THROWS_WITH_AS(search_of(bench, stats, options), text.c_str(), std::invalid_argument);
  }
  const Setting small("GTN_EMULATOR_MEMORY", "300000");
  int asked = 0;
  Options options;
  options.free_cached = [&] {
    ++asked;
    return false;
  };
  PricedDeviceStats stats;
  CHECK_THROWS_AS(search_of(bench, stats, options), gtn::cuda::OutOfMemory);
  CHECK(asked == 1);
}
