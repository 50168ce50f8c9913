// Whole matchings of the cuda backend, in the emulator: every bit of assignment, cosine and visited
// equals that of the literal reference and of the cpu backend.
#include <doctest/doctest.h>

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

std::string describe(int64_t m, int64_t n, int64_t dim, const std::string& more = "") {
  return std::to_string(m) + " latents, " + std::to_string(n) + " sources, dim " +
         std::to_string(dim) + " " + more;
}

}  // namespace

TEST_CASE("every dimension and both types, together") {
  int seed = 0;
  for (const int64_t dim : {1, 2, 3, 5, 8, 9, 31, 32, 33, 64, 100, 257}) {
    for (const bool wide_latents : {false, true}) {
      for (const bool wide_sources : {false, true}) {
        const Setting other_seed("GTN_EMULATOR_SEED", std::to_string(++seed));
        const Data x = make(Shape::gaussian, 97, dim, wide_latents, 1);
        const Data y = make(Shape::gaussian, 61, dim, wide_sources, 2);
        check({x, y}, describe(97, 61, dim));
      }
    }
  }
}

TEST_CASE("few of each") {
  for (const int64_t dim : {1, 3, 9}) {
    for (const int64_t m : {1, 2, 3, 31, 33}) {
      for (const int64_t n : {int64_t{1}, m / 2 + 1, m}) {
        const Data x = make(Shape::gaussian, m, dim, false, 3);
        const Data y = make(Shape::gaussian, n, dim, false, 4);
        check({x, y}, describe(m, n, dim));
      }
    }
  }
}

TEST_CASE("hard latents, hard sources") {
  for (const int64_t dim : {1, 2, 8, 9, 40}) {
    for (const Shape shape : emulation::kShapes) {
      for (const bool f64 : {false, true}) {
        const Data x = make(shape, 150, dim, f64, 5);
        const Data y = make(Shape::gaussian, 90, dim, f64, 6);
        check({x, y}, describe(150, 90, dim, name_of(shape)));
        check({y, make(shape, 60, dim, f64, 7)}, describe(90, 60, dim, name_of(shape)));
      }
    }
  }
}
