// Whole matchings of the cuda backend, in the emulator: every bit of assignment, cosine and visited
// equals that of the literal reference and of the cpu backend.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>

#include "cuda_job.hpp"
#include "device_array.hpp"

using emulation::differences;
using emulation::Job;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using gtn::Order;
using reference::Data;
using reference::Rules;

namespace {

void check(const Job& job, const std::string& what) {
  const auto expected = reference::match(job.latents, job.sources, job.rules);
  const Result got = job.run();
  const int64_t wrong = differences(got, expected);
  CHECK_MESSAGE(wrong == 0, what);
  CHECK(got.done == job.sources.n);
  const int64_t other = differences(job.run_on_cpu(), expected);
  CHECK_MESSAGE(other == 0, what);
}

std::string describe(const Data& x, const Data& y, const std::string& what) {
  return std::to_string(x.n) + " latents, " + std::to_string(y.n) + " sources, dim " +
         std::to_string(x.dim) + ", " + what;
}

}  // namespace

TEST_CASE("every dimension, both types, several orders of threads") {
  int seed = 0;
  for (const int64_t dim : {1, 2, 3, 5, 8, 9, 31, 32, 33, 64, 100, 257}) {
    for (const bool wide_latents : {false, true}) {
      for (const bool wide_sources : {false, true}) {
        const Setting other_seed("GTN_EMULATOR_SEED", std::to_string(++seed));
        const Data x = make(Shape::gaussian, 36, dim, wide_latents, 1);
        const Data y = make(Shape::gaussian, 36 - seed % 3, dim, wide_sources, 2);
        check({x, y}, describe(x, y, "of both types"));
      }
    }
  }
}

TEST_CASE("wide rows, whose groups have names") {
  int turn = 0;
  for (const int64_t dim : {500, 768}) {
    for (const Shape shape : {Shape::gaussian, Shape::equal, Shape::duplicates, Shape::integers,
                              Shape::tiny_clusters, Shape::antipodal, Shape::outlier}) {
      constexpr int64_t kCones[] = {1, 3, 17};
      const Data x = make(shape, 70, dim, ++turn % 2 == 0, 31);
      const Data y = make(turn % 3 == 0 ? shape : Shape::gaussian, 70, dim, turn % 4 == 0, 32);
      const Rules rules{.cone = kCones[turn % 3], .center = turn % 5 == 0};
      check({x, y, rules}, describe(x, y, name_of(shape)));
    }
  }
  // Many windows: groups lose their members one by one, and layouts are made anew.
  const Data x = make(Shape::gaussian, 300, 500, false, 33);
  const Data y = make(Shape::gaussian, 300, 500, false, 34);
  Job job{x, y, {.cone = 2}};
  check(job, describe(x, y, "to the last"));
  // Just enough for windows of a few dozen.
  const auto expected = reference::match(x, y, job.rules);
  job.options.memory = 3 << 20;
  const Result small = job.run();
  CHECK(differences(small, expected) == 0);
  CHECK(small.stats.windows > 4);
  const Data widest = make(Shape::gaussian, 60, 4096, false, 35);
  const Data sources = make(Shape::gaussian, 50, 4096, false, 36);
  check({widest, sources, {.cone = 5}}, describe(widest, sources, "the widest"));
}

TEST_CASE("few of each") {
  for (const int64_t dim : {1, 3, 9}) {
    for (const int64_t m : {1, 2, 3, 33}) {
      for (const int64_t n : {int64_t{1}, m}) {
        const Data x = make(Shape::gaussian, m, dim, false, 3);
        const Data y = make(Shape::gaussian, n, dim, false, 4);
        check({x, y}, describe(x, y, "few"));
      }
    }
  }
}

TEST_CASE("hard latents, hard sources") {
  int turn = 0;
  for (const int64_t dim : {1, 3, 9, 40}) {
    for (const Shape shape : emulation::kShapes) {
      const bool f64 = ++turn % 2;
      const Data x = make(shape, 48, dim, f64, 5);
      const Data y = make(Shape::gaussian, 44, dim, f64, 6);
      check({x, y}, describe(x, y, name_of(shape)));
      if (turn % 3 != 0) continue;
      const Data hard = make(shape, 40, dim, f64, 7);
      check({y, hard}, describe(y, hard, name_of(shape)));
    }
  }
}

TEST_CASE("orders, cones, centring and groups, together") {
  constexpr int64_t kDims[] = {2, 9, 20};
  constexpr Shape kSome[] = {Shape::off_centre, Shape::integers, Shape::gaussian, Shape::clusters};
  std::mt19937_64 random(8);
  size_t turn = 0;
  for (const int64_t cone : {1, 2, 16, 100, 1024}) {
    for (const int64_t groups : {0, 3, 40}) {  // the last: of one or two each
      for (const Order order : {Order::norm, Order::norm_desc, Order::index}) {
        if (++turn % 2 == 0) continue;
        const int64_t dim = kDims[turn / 2 % 3], m = 50, n = groups == 0 ? m : 40;
        const Shape shape = kSome[turn / 2 % 4];
        const Data x = make(shape, m, dim, turn % 5 == 0, 9);
        const Data y = make(Shape::gaussian, n, dim, turn % 7 == 0, 10);
        Rules rules{.order = order, .cone = cone, .center = turn / 2 % 2 == 1};
        for (int64_t i = 0; i < m && groups > 0; ++i) {
          // Labels in no order, negative ones, and one that no source has.
          const int64_t label = (i % groups * 7919 + 5) % 101 - 50;
          if (i < n) rules.source_groups.push_back(label);
          rules.latent_groups.push_back(i < n ? label : i % 2 ? 1000 : label);
        }
        std::shuffle(rules.latent_groups.begin(), rules.latent_groups.end(), random);
        check({x, y, rules}, describe(x, y, name_of(shape)) + ", cone " + std::to_string(cone) +
                                 ", groups " + std::to_string(groups));
      }
    }
  }
}

TEST_CASE("many latents: cells, layouts made anew, windows of all sizes") {
  const Data x = make(Shape::clusters, 2200, 9, false, 11);
  const Data y = make(Shape::clusters, 40, 9, false, 11);  // about the same clusters
  check({x, y}, "cells");
  for (const int64_t dim : {3, 16}) {
    const Data all = make(Shape::gaussian, 300, dim, false, 12);
    const Data sources = make(Shape::gaussian, 300, dim, false, 13);
    check({all, sources}, describe(all, sources, "to the last"));
  }
}

TEST_CASE("every kernel gives the same") {
  const Data x = make(Shape::clusters, 90, 40, false, 14),
             y = make(Shape::gaussian, 40, 40, false, 15);
  Job job{x, y};
  const Result expected = job.run();
  CHECK(expected.stats.instruction_set == "dp4a");
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  for (const gtn::cuda::Kernel& kernel : gtn::cuda::kernels()) {
    job.options.kernel = kernel.name;
    const Result r = job.run();
    CHECK(r.stats.instruction_set == kernel.name);
    CHECK_MESSAGE(differences(r, expected) == 0, kernel.name);
    CHECK(r.stats.rescored == expected.stats.rescored);
  }
  job.options.kernel = "";
  CHECK(differences(job.run(), expected) == 0);
}

TEST_CASE("undefined input is refused in the host's words") {
  Data x = make(Shape::gaussian, 40, 9, true, 16), y = make(Shape::gaussian, 20, 9, false, 17);
  const auto refused = [](const Job& job) {
    std::string device = "nothing", host = "nothing";
    try {
      job.run();
    } catch (const std::invalid_argument& e) {
      device = e.what();
    }
    try {
      job.run_on_cpu();
    } catch (const std::invalid_argument& e) {
      host = e.what();
    }
    CHECK(device == host);
    CHECK(host != "nothing");
  };
  Data bad = x;
  bad.f64[70] = std::nan("");
  refused({bad, y});
  refused({bad, y, {.center = true}});
  bad.f64[70] = 1e200;
  refused({bad, y});
  bad.f64[70] = bad.f64[61] = 1.7e308;
  refused({bad, y, {.center = true}});
  Data zero = y;
  std::fill_n(zero.f32.begin() + 27, 9, 0.0f);
  refused({x, zero});
  refused({make(Shape::equal, 30, 9, false, 18), y, {.center = true}});
  Rules rules;
  rules.source_groups.assign(20, 3);
  rules.latent_groups.assign(40, 4);
  refused({x, y, rules});
}
