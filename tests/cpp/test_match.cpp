// The whole job against the literal reference: kernels, threads, cones, data; groups; resuming;
// interruption.
#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "core/match.hpp"
#include "cpu/backend_cpu.hpp"
#include "reference.hpp"
#include "sets_to_test.hpp"

using reference::Data;
using reference::Kind;

namespace {

struct Result {
  std::vector<int64_t> assignment, visited;
  std::vector<double> cosine;
  gtn::Stats stats;
  int64_t done = 0;
};

struct Job {
  const Data& x;
  const Data& y;
  int64_t cone = 1;
  int threads = 2;
  std::string kernel = sets_to_test()[0].name;
  std::vector<int64_t> source_groups = {}, latent_groups = {};
  int64_t memory = 0;

  gtn::MatchInput input() const {
    gtn::MatchInput in;
    in.latents = x.rows("latents");
    in.sources = y.rows("sources");
    in.cone = cone;
    in.threads = threads;
    if (!source_groups.empty()) {
      in.source_groups = source_groups.data();
      in.latent_groups = latent_groups.data();
    }
    return in;
  }
  void run(Result& r, int64_t start, gtn::Poll poll = {}) const {
    r.assignment.assign(static_cast<size_t>(y.n), -1);
    r.visited.resize(static_cast<size_t>(y.n), -1);
    r.cosine.assign(static_cast<size_t>(y.n), 0.0);
    gtn::MatchInput in = input();
    in.start = start;
    const gtn::Backend backend = gtn::cpu_backend(set_to_test(kernel), memory, x.n, y.n, x.dim);
    r.stats = gtn::match_rows(in, backend, {r.assignment.data(), r.cosine.data(), r.visited.data()},
                              r.done, poll);
  }
  Result run() const {
    Result r;
    run(r, 0);
    return r;
  }
};

}  // namespace

TEST_CASE("the caller's floating-point mode changes nothing, and is kept") {
  Data x = reference::make(Kind::gaussian, 2000, 3, 31);
  const Data y = reference::make(Kind::gaussian, 1500, 3, 32);
  for (float& v : x.f32) v *= 1e-38f;  // many are denormal
  const Result expected = Job{x, y}.run();
  for (const int threads : {1, 3}) {
    std::fenv_t before;
    std::fegetenv(&before);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);  // flush denormals to zero, as fast-math libraries do
#endif
    std::fesetround(FE_UPWARD);
    const Result r = Job{x, y, 1, threads}.run();
    const int rounding = std::fegetround();
#if defined(__x86_64__)
    const unsigned flushing = _mm_getcsr() & 0x8040;
#endif
    std::fesetenv(&before);
    CHECK(r.assignment == expected.assignment);
    CHECK(r.cosine == expected.cosine);
    CHECK(rounding == FE_UPWARD);
#if defined(__x86_64__)
    CHECK(flushing == 0x8040);
#endif
  }
}

TEST_CASE("equal to the reference") {
  for (const Kind kind : reference::kKinds) {
    for (const int64_t dim : {1, 2, 33}) {
      const Data x = reference::make(kind, 500, dim, 21);
      const Data y = reference::make(Kind::gaussian, 450, dim, 22);
      for (const int64_t cone : {1, 8}) {
        const auto expected = reference::match(x, y, {.cone = cone}).assignment;
        for (const auto& k : sets_to_test()) {
          for (const int threads : {1, 3}) {
            const Result r = Job{x, y, cone, threads, k.name, {}, {}}.run();
            CHECK(r.assignment == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("a cone wider than what is left") {
  const Data x = reference::make(Kind::clusters, 400, 12, 32);
  const Data y = reference::make(Kind::gaussian, 400, 12, 33);
  for (const int64_t cone : {300, 399, 100000}) {
    const auto expected = reference::match(x, y, {.cone = cone}).assignment;
    CHECK(Job{x, y, std::min<int64_t>(cone, 400)}.run().assignment == expected);
  }
}

TEST_CASE("cosines, visiting order and statistics") {
  const Data x = reference::make(Kind::clusters, 900, 16, 23),
             y = reference::make(Kind::wide, 900, 16, 24);
  const Result r = Job{x, y, 1, 2, "scalar", {}, {}}.run();
  CHECK(r.done == 900);
  CHECK(r.stats.threads == 2);
  CHECK(r.stats.distinct == 900);
  double last = 0.0;
  for (int64_t p = 0; p < 900; ++p) {
    const auto found =
        std::find(r.assignment.begin(), r.assignment.end(), r.visited[static_cast<size_t>(p)]);
    const int64_t source = found - r.assignment.begin();
    const double norm = std::sqrt(reference::dot(y, source, y, source));
    CHECK(norm >= last);
    last = norm;
    const int64_t latent = *found;
    const double score =
        reference::dot(x, latent, y, source) / std::sqrt(reference::dot(x, latent, x, latent));
    CHECK(r.cosine[static_cast<size_t>(source)] == score / norm);
  }
}

TEST_CASE("groups equal running each group alone, and a short group is named") {
  const Data x = reference::make(Kind::gaussian, 900, 8, 25),
             y = reference::make(Kind::gaussian, 800, 8, 26);
  Job job{x, y};
  for (int64_t i = 0; i < 900; ++i) job.latent_groups.push_back(i % 3 == 0 ? -7 : 4);
  for (int64_t j = 0; j < 800; ++j) job.source_groups.push_back(j % 3 == 0 ? -7 : 4);
  const Result r = job.run();
  for (const int64_t label : {-7, 4}) {
    Data gx{0, 8, {}, {}}, gy{0, 8, {}, {}};
    std::vector<int64_t> rows_x, rows_y;
    const auto take = [&](const Data& from, const std::vector<int64_t>& labels, Data& to,
                          std::vector<int64_t>& rows) {
      for (int64_t i = 0; i < from.n; ++i) {
        if (labels[static_cast<size_t>(i)] != label) continue;
        rows.push_back(i);
        ++to.n;
        for (int64_t k = 0; k < 8; ++k) to.f32.push_back(from.f32[static_cast<size_t>(i * 8 + k)]);
      }
    };
    take(x, job.latent_groups, gx, rows_x);
    take(y, job.source_groups, gy, rows_y);
    const auto alone = reference::match(gx, gy, {}).assignment;
    for (size_t j = 0; j < rows_y.size(); ++j) {
      CHECK(r.assignment[static_cast<size_t>(rows_y[j])] == rows_x[static_cast<size_t>(alone[j])]);
    }
  }
  job.source_groups.assign(800, -7);
  CHECK_THROWS_WITH_AS(job.run(),
                       "groups: a group must have at least as many latents as sources, but group "
                       "-7 has 800 sources and 300 latents",
                       std::invalid_argument);
}

TEST_CASE("a run resumed at any point ends the same, and a wrong prefix is refused") {
  for (const Kind kind : {Kind::gaussian, Kind::repeated}) {
    const Data x = reference::make(kind, 1200, 6, 27),
               y = reference::make(Kind::gaussian, 1200, 6, 28);
    Job job{x, y, 4};
    for (int64_t i = 0; i < 1200; ++i) {
      job.latent_groups.push_back(i % 2);
      job.source_groups.push_back(i % 2);
    }
    const Result whole = job.run();
    for (const int64_t start : {1, 599, 600, 601, 1199, 1200}) {
      Result r;
      r.visited.assign(whole.visited.begin(), whole.visited.begin() + start);
      job.run(r, start);
      CHECK(r.assignment == whole.assignment);
      CHECK(r.cosine == whole.cosine);
      CHECK(r.visited == whole.visited);
      CHECK(r.done == 1200);
    }
    Result r;
    r.visited = whole.visited;
    r.visited[3] = r.visited[2];
    CHECK_THROWS_AS(job.run(r, 10), std::invalid_argument);
    r.visited[3] = 5000;
    CHECK_THROWS_AS(job.run(r, 10), std::invalid_argument);
  }
}

TEST_CASE("poll can stop a run, and what is done stays done") {
  const Data x = reference::make(Kind::gaussian, 20000, 32, 29);
  const Job job{x, x, 1, 2, "scalar"};  // slow enough to be polled many times
  Result r;
  int polls = 0;
  CHECK_THROWS_WITH_AS(job.run(r, 0,
                               [&] {
                                 if (++polls == 2) throw std::runtime_error("stop");
                               }),
                       "stop", std::runtime_error);
  REQUIRE(r.done < 20000);
  for (int64_t p = 0; p < r.done; ++p) CHECK(r.visited[static_cast<size_t>(p)] >= 0);
}

TEST_CASE("a memory budget: refused with the bytes needed, or the same answer") {
  const Data x = reference::make(Kind::heavy, 3000, 40, 30),
             y = reference::make(Kind::gaussian, 3000, 40, 31);
  Job job{x, y};
  const Result free = job.run();
  job.memory = 1000;
  std::string needed;
  try {
    job.run();
  } catch (const std::invalid_argument& e) {
    needed = e.what();
  }
  REQUIRE(needed.rfind("memory must be at least ", 0) == 0);
  job.memory = std::stoll(needed.substr(24));
  const Result tight = job.run();
  CHECK(tight.stats.arithmetic == "int8");
  CHECK(tight.assignment == free.assignment);
}
