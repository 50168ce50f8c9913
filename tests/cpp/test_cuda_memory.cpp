// Device memory of the cuda backend, in the emulator: rows and codes that do not fit lie elsewhere,
// with the same bits. A plan never asks for less than the run takes. Too little memory is an error
// that names the bytes.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/matcher.hpp"
#include "cuda/plan.hpp"
#include "cuda_job.hpp"
#include "device_problem.hpp"

using emulation::Array;
using emulation::differences;
using emulation::Job;
using emulation::live_objects;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using gtn::cuda::Plan;
using gtn::cuda::PlanInput;
using reference::Data;
using reference::Rules;

namespace {

// As backend_cuda.cu asks.
PlanInput plan_input(const Job& job) {
  const auto bytes = [](const Data& d) { return d.n * d.dim * (d.f64.empty() ? 4 : 8); };
  return {job.latents.n,
          job.latents.n,
          job.sources.n,
          job.latents.dim,
          bytes(job.latents),
          bytes(job.sources),
          gtn::cuda::Matcher::list_room(job.rules.cone),
          0};
}

Plan plan_with(PlanInput input, int64_t available) {
  input.available = available;
  return gtn::cuda::plan_for(input);
}

int moved_out(const Plan& plan) {
  return plan.sources_mapped + plan.latents_mapped + plan.codes_mapped;
}

// The least memory with which at most so much is moved out.
int64_t least_for(const PlanInput& input, int most_moved) {
  int64_t low = 0, high = int64_t{1} << 40;
  while (low + 1 < high) {
    const int64_t middle = low + (high - low) / 2;
    const Plan plan = plan_with(input, middle);
    (plan.window > 0 && moved_out(plan) <= most_moved ? high : low) = middle;
  }
  return high;
}

std::string refusal(const Job& job) {
  try {
    job.run();
  } catch (const std::invalid_argument& e) {
    return std::string("invalid: ") + e.what();
  } catch (const gtn::cuda::OutOfMemory& e) {
    return std::string("out of memory: ") + e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("what does not fit stays on the host, and the bits are the same") {
  for (const int64_t dim : {3, 40}) {
    const Data x = make(Shape::clusters, 110, dim, true, 1);
    const Data y = make(Shape::gaussian, 90, dim, false, 2);
    Job job{x, y};
    const Result plenty = job.run();
    CHECK(!plenty.stats.sources_mapped);
    CHECK(differences(plenty, job.run_on_cpu()) == 0);
    const PlanInput input = plan_input(job);
    const int most = dim == 3 ? 2 : 3;  // caps have no codes
    for (int moved = 0; moved <= most; ++moved) {
      for (const int64_t more : {0, 700}) {
        job.options.memory = least_for(input, moved) + more;
        const Plan plan = plan_with(input, job.options.memory);
        CHECK(moved_out(plan) == moved);
        const Result r = job.run();
        CHECK(differences(r, plenty) == 0);
        CHECK(r.stats.sources_mapped == (moved >= 1));
        CHECK(r.stats.latents_mapped == (moved >= 2));
        CHECK(r.stats.codes_mapped == (moved >= 3));
        CHECK(r.stats.work_bytes <= plan.bytes);
        CHECK(plan.bytes <= job.options.memory);
      }
    }
    // The smallest windows there are, with all moved out.
    const int64_t least = gtn::cuda::least_bytes(input);
    CHECK(least == least_for(input, 3));
    job.options.memory = least;
    CHECK(plan_with(input, least).window == 32);
    CHECK(differences(job.run(), plenty) == 0);
    job.options.memory = least - 1;
    CHECK(refusal(job) == "invalid: memory must be at least " + std::to_string(least) +
                              " bytes for this input, got " + std::to_string(least - 1));
    CHECK(live_objects() == 0);
  }
}

TEST_CASE("cached memory is freed before anything is left on the host, which is said") {
  const Data x = make(Shape::gaussian, 300, 20, false, 11);
  const Data y = make(Shape::gaussian, 20, 20, false, 12);
  Job job{x, y};
  const Result plenty = job.run();
  const int64_t whole = plan_with(plan_input(job), int64_t{1} << 30).bytes;
  const Setting device("GTN_EMULATOR_MEMORY", std::to_string(whole + whole / 16));
  std::vector<std::string> said;
  int asked = 0;
  job.options.warn = [&](const std::string& text) { said.push_back(text); };
  void* cache = nullptr;
  REQUIRE(cudaMalloc(&cache, 25'000) == cudaSuccess);
  job.options.free_cached = [&] {
    ++asked;
    return false;
  };
  const Result slow = job.run();  // nobody frees it
  CHECK(differences(slow, plenty) == 0);
  CHECK(slow.stats.sources_mapped);
  CHECK(!slow.stats.cache_freed);
  CHECK(asked == 1);
  REQUIRE(said.size() == 1);
  CHECK(said[0].find("sources") == 0);
  CHECK(said[0].find(" stay in the host's memory and are read through the bus, because only ") !=
        std::string::npos);
  // A limit is a wish: nothing is freed for it, and nothing said.
  Job limited = job;
  limited.options.memory = gtn::cuda::least_bytes(plan_input(job));
  CHECK(limited.run().stats.sources_mapped);
  CHECK(asked == 1);
  CHECK(said.size() == 1);
  job.options.free_cached = [&] {
    ++asked;
    return cudaFree(cache) == cudaSuccess;
  };
  const Result fast = job.run();
  CHECK(differences(fast, plenty) == 0);
  CHECK(!fast.stats.sources_mapped);
  CHECK(fast.stats.cache_freed);
  CHECK(asked == 2);
  CHECK(said.size() == 1);
  CHECK(live_objects() == 0);
}

TEST_CASE("a run takes its memory at once, for however many groups") {
  const Setting arena("GTN_CUDA_ARENA", "1");
  for (const int64_t dim : {3, 20}) {
    const Data x = make(Shape::gaussian, 60, dim, false, 13);
    const Data y = make(Shape::gaussian, 30, dim, false, 14);
    Job job{x, y};
    job.rules.center = true;
    for (int64_t i = 0; i < 60; ++i) {
      if (i < 30) job.rules.source_groups.push_back(i % 5);
      job.rules.latent_groups.push_back(i % 5);
    }
    const Result expected = job.run_on_cpu();
    {
      const Setting second("GTN_EMULATOR_FAIL", "cudaMalloc:2:cudaErrorUnknown");
      const Result r = job.run();
      CHECK(differences(r, expected) == 0);
    }
    {
      const Setting pinned("GTN_EMULATOR_FAIL", "cudaHostAlloc:3:cudaErrorUnknown");
      CHECK(differences(job.run(), expected) == 0);
    }
    {
      const Setting none("GTN_EMULATOR_FAIL", "cudaMalloc:1");  // then by many allocations
      CHECK(differences(job.run(), expected) == 0);
    }
    // The least memory there may be is enough, whatever is rounded up.
    const PlanInput input = plan_input(job);
    job.options.memory = gtn::cuda::least_bytes(input);
    const Result least = job.run();
    CHECK(differences(least, expected) == 0);
    CHECK(least.stats.work_bytes <= job.options.memory);
    CHECK(live_objects() == 0);
  }
}

TEST_CASE("what is reserved is carved and given back in any order") {
  const Setting arena("GTN_CUDA_ARENA", "1");
  gtn::cuda::Budget budget(0, 0, nullptr);
  budget.reserve(4096);
  CHECK(live_objects() == 1);
  const auto bytes = [&](int64_t count) {
    return gtn::cuda::DeviceArray<unsigned char>(budget, count, "bytes");
  };
  auto a = bytes(1), b = bytes(257), c = bytes(3072), d = bytes(256);
  CHECK(b.data() == a.data() + 256);
  CHECK(c.data() == b.data() + 512);
  CHECK(d.data() == c.data() + 3072);
  CHECK(live_objects() == 1);
  {
    const auto more = bytes(1);  // full
    CHECK(live_objects() == 2);
  }
  CHECK(live_objects() == 1);
  unsigned char* const begin = a.data();
  b = {};
  d = {};
  a = {};
  c = {};
  CHECK(bytes(4096).data() == begin);
  CHECK(budget.taken() == 0);
  CHECK(budget.most_taken() == 4096);
}

TEST_CASE("rows that lie on the device are not copied") {
  const Data x = make(Shape::gaussian, 90, 12, false, 3),
             y = make(Shape::gaussian, 30, 12, true, 4);
  Job job{x, y};
  const Result expected = job.run();
  const Array<unsigned char> latents(emulation::bytes_of(x)), sources(emulation::bytes_of(y));
  const int64_t before = live_objects();
  for (const bool center : {false, true}) {
    for (const int where : {1, 2, 3}) {
      gtn::MatchInput in = job.input();
      in.center = center;
      if (where & 1) in.latents.data = latents.data();
      if (where & 2) in.sources.data = sources.data();
      gtn::cuda::Options options = job.options;
      options.latents_on_device = where & 1;
      options.sources_on_device = where & 2;
      Result r = expected;
      r.stats = gtn::cuda::match_rows(
          in, options, {r.assignment.data(), r.cosine.data(), r.visited.data()}, r.done, [] {});
      Job same = job;
      same.rules.center = center;
      const Result copied = same.run();
      CHECK(differences(r, copied) == 0);
      const int64_t saved = (where & 1 ? 90 * 12 * 4 : 0) + (where & 2 ? 30 * 12 * 8 : 0);
      CHECK(r.stats.work_bytes == copied.stats.work_bytes - saved);
    }
  }
  // What is wrong with them is said by the host.
  Data bad = x;
  bad.f32[5 * 12] = 0.0f / 0.0f;
  const Array<unsigned char> there(emulation::bytes_of(bad));
  gtn::MatchInput in = job.input();
  in.latents.data = there.data();
  job.options.latents_on_device = true;
  Result r = expected;
  CHECK_THROWS_WITH_AS(
      gtn::cuda::match_rows(
          in, job.options, {r.assignment.data(), r.cosine.data(), r.visited.data()}, r.done, [] {}),
      "latents must be finite, but NaN or infinity was found in 1 of 90 rows: row 5",
      std::invalid_argument);
  CHECK(live_objects() == before + 1);
}

TEST_CASE("the plan never asks for less than is taken") {
  // Beyond the spare bytes, which are for what allocations round up to.
  constexpr int64_t kSmallArrays = 8 << 10;
  int seed = 0;
  for (const int64_t dim : {1, 8, 9, 70, 500}) {
    for (const int64_t m : {1, 60, 2100}) {
      for (const int64_t n : {int64_t{1}, m / 50 + 1}) {
        if (m > 2000 && (n == 1 || dim % 9 != 0)) continue;
        const Data x = make(m > 2000 ? Shape::clusters : Shape::gaussian, m, dim, ++seed % 2, 5);
        const Data y = make(Shape::gaussian, n, dim, seed % 3 == 0, 6);
        Job job{x, y};
        job.rules.cone = seed % 5 == 0 ? 300 : 1;
        job.rules.center = m > 1 && seed % 4 == 0;
        Result r;
        job.run(r);
        const PlanInput input = plan_input(job);
        const int64_t plan = plan_with(input, int64_t{1} << 30).bytes;
        CHECK(r.stats.work_bytes <= plan - gtn::cuda::kSpareBytes + kSmallArrays);
        if (n == 1) continue;
        job.run(r, n - 1);
        CHECK(r.stats.work_bytes <= plan - gtn::cuda::kSpareBytes + kSmallArrays);
      }
    }
  }
}

TEST_CASE("the plan knows of latents and sources outside of the largest group") {
  // A small group has all the sources.
  const Data x = make(Shape::gaussian, 2000, 2, false, 7),
             y = make(Shape::gaussian, 3, 2, false, 8);
  Job job{x, y};
  job.rules.source_groups.assign(3, 5);
  job.rules.latent_groups.assign(2000, 6);
  for (size_t i = 0; i < 9; ++i) job.rules.latent_groups[i * 99] = 5;
  Result r = job.run();
  CHECK(differences(r, job.run_on_cpu()) == 0);
  job.run(r, 2);
  PlanInput input = plan_input(job);
  input.latents = 9;
  job.options.memory = gtn::cuda::least_bytes(input) - 1;
  CHECK(refusal(job) != "");
  CHECK(r.stats.work_bytes <=
        plan_with(input, int64_t{1} << 30).bytes - gtn::cuda::kSpareBytes + (8 << 10));
}

TEST_CASE("plans: more memory moves less out, and plans keep to it") {
  for (const int64_t dim : {2, 64, 768}) {
    for (const int64_t m : {1000, 1000000, 20000000}) {
      for (const int64_t n : {int64_t{1}, m / 3, m}) {
        for (const bool there : {false, true}) {
          const int64_t rows = there ? 0 : dim * 4;
          const PlanInput input{m, m, n, dim, rows * m, rows * n, 256, 0};
          const int64_t least = gtn::cuda::least_bytes(input);
          CHECK(plan_with(input, least - 1).window == 0);
          int before = 3;
          int64_t window = 0;
          for (int64_t memory = least; memory < int64_t{1} << 40; memory += memory / 50) {
            const Plan plan = plan_with(input, memory);
            CHECK(plan.window >= 1);
            CHECK(plan.window <= std::min<int64_t>(n, gtn::cuda::kMostWindow));
            CHECK(plan.bytes <= memory);
            CHECK(moved_out(plan) <= before);
            if (moved_out(plan) == before) CHECK(plan.window >= window);
            before = moved_out(plan);
            window = plan.window;
            CHECK(!(there && (plan.latents_mapped || plan.sources_mapped)));
          }
          CHECK(before == 0);
          CHECK(window == std::min<int64_t>(n, gtn::cuda::kMostWindow));
        }
      }
    }
  }
}

TEST_CASE("a device with too little memory says so with the bytes") {
  const Data x = make(Shape::gaussian, 200, 12, false, 9);
  const Data y = make(Shape::gaussian, 100, 12, false, 10);
  Job job{x, y};
  const Result expected = job.run();
  const int64_t least = gtn::cuda::least_bytes(plan_input(job));
  for (const int64_t memory : {int64_t{0}, int64_t{1} << 40}) {  // that the caller allows
    job.options.memory = memory;
    const Setting little("GTN_EMULATOR_MEMORY", std::to_string(least));
    CHECK(refusal(job) == "out of memory: cuda:0 is out of memory: this input needs at least " +
                              std::to_string(least) + " bytes, but of its " +
                              std::to_string(least) + " only " +
                              std::to_string(least - least / 32) + " can be taken");
    CHECK(live_objects() == 0);
  }
  {
    // A share is left to others.
    const Setting enough("GTN_EMULATOR_MEMORY", std::to_string(least + least / 16));
    CHECK(differences(job.run(), expected) == 0);
  }
  {
    const Setting none("GTN_EMULATOR_FAIL", "cudaHostAlloc:1");
    Job least_of_all = job;
    least_of_all.options.memory = least;
    CHECK(refusal(least_of_all) ==
          "out of memory: the host cannot pin the 9600 bytes of memory that latents need");
    CHECK(live_objects() == 0);
  }
  // Others took it in the meantime.
  const Setting none("GTN_EMULATOR_FAIL", "cudaMalloc:9");
  const std::string said = refusal(job);
  CHECK(said.find("out of memory: cuda:0 is out of memory: ") == 0);
  CHECK(said.find(" bytes, but 10") != std::string::npos);
  CHECK(said.find(" are taken by this call)") != std::string::npos);
  CHECK(live_objects() == 0);
}
