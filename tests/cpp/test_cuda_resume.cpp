// Runs of the cuda backend that go on from what an earlier one decided, or that are cut short, in
// the emulator: the same bits from every start, every wrong entry named, nothing kept of a run that
// an exception ended.
#include <doctest/doctest.h>

#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "cuda_job.hpp"
#include "device_array.hpp"

using emulation::differences;
using emulation::Job;
using emulation::live_objects;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using reference::Data;
using reference::Rules;

namespace {

// What a run from `start` says of visited[:start].
std::string refusal(const Job& job, Result earlier, int64_t start) {
  try {
    job.run(earlier, start);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

std::string words(int64_t entry, int64_t row) {
  return "visited must hold the latents that the first sources took, but entry " +
         std::to_string(entry) + " is " + std::to_string(row) +
         ", which is not a free latent that it can have taken";
}

Rules in_groups(int64_t n, int64_t m) {
  Rules rules;
  for (int64_t i = 0; i < n; ++i) rules.source_groups.push_back(i % 3);
  for (int64_t i = 0; i < m; ++i) rules.latent_groups.push_back(i % 4);  // the last has no sources
  return rules;
}

}  // namespace

TEST_CASE("a run goes on from any start") {
  for (const int64_t dim : {3, 20}) {
    const Data x = make(Shape::gaussian, 48, dim, false, 1);
    const Data y = make(Shape::gaussian, 30, dim, false, 2);
    for (const bool grouped : {false, true}) {
      Rules rules = grouped ? in_groups(30, 48) : Rules{};
      rules.cone = dim == 3 ? 4 : 1;
      const Job job{x, y, rules};
      const Result whole = job.run();
      for (int64_t start = 0; start <= 30; start += dim == 3 ? 3 : 10) {
        Result r;
        r.visited.assign(whole.visited.begin(), whole.visited.begin() + start);
        job.run(r, start);
        CHECK(differences(r, whole) == 0);
        CHECK(r.done == 30);
      }
    }
  }
}

TEST_CASE("what cannot have been taken is refused by its entry") {
  constexpr int64_t kSources = 20, kLatents = 32;
  const Data x = make(Shape::gaussian, kLatents, 9, false, 3);
  const Data y = make(Shape::gaussian, kSources, 9, false, 4);
  for (const bool grouped : {false, true}) {
    const Job job{x, y, grouped ? in_groups(kSources, kLatents) : Rules{}};
    const Result whole = job.run();
    for (const char* seed : {"1", "2"}) {
      const Setting order("GTN_EMULATOR_SEED", seed);
      for (const int64_t entry : {int64_t{0}, int64_t{7}, kSources - 1}) {
        const auto at = static_cast<size_t>(entry);
        const int64_t right = whole.visited[at];
        for (const int64_t row : {int64_t{-1}, kLatents, INT64_MAX, INT64_MIN,
                                  right + (int64_t{1} << 32), whole.visited[0]}) {
          if (row == right) continue;
          Result earlier = whole;
          earlier.visited[at] = row;
          CHECK(refusal(job, earlier, kSources) == words(entry, row));
        }
      }
      // What is wrong is not looked at where the earlier run did not get so far.
      Result shorter = whole;
      shorter.visited[7] = -1;
      CHECK(refusal(job, shorter, 7) == "");
      if (!grouped) continue;
      // A free latent, but another group's.
      Result earlier = whole;
      earlier.visited[2] = 3;
      CHECK(refusal(job, earlier, kSources) == words(2, 3));
    }
  }
}

TEST_CASE("the first of several wrong entries is named") {
  const Data x = make(Shape::gaussian, 300, 9, false, 5);
  const Data y = make(Shape::gaussian, 300, 9, false, 6);
  Result earlier;
  earlier.visited.resize(300);
  std::iota(earlier.visited.begin(), earlier.visited.end(), 0);
  std::mt19937_64 random(7);
  for (int i = 0; i < 12; ++i) {
    const Setting order("GTN_EMULATOR_SEED", std::to_string(i));
    const auto one = static_cast<size_t>(random() % 200), other = one + 1 + random() % 98;
    Result wrong = earlier;
    // Rows that come twice: the second time is wrong.
    wrong.visited[other] = wrong.visited[one];
    wrong.visited[299] = wrong.visited[0];
    const auto entry = static_cast<int64_t>(other);
    CHECK(refusal({x, y}, wrong, 300) == words(entry, static_cast<int64_t>(one)));
  }
}

TEST_CASE("an exception of poll comes through, and what was done stands") {
  struct Interrupted {};
  // poll is called every so many milliseconds: a run must be long enough to be cut after a window.
  int64_t reached = 0;
  for (int64_t n = 100; reached == 0; n *= 2) {
    REQUIRE(n < 10000);
    const Data x = make(Shape::gaussian, n + 9, 20, false, 8);
    const Data y = make(Shape::gaussian, n, 20, false, 9);
    Job job{x, y};
    const Result whole = job.run();
    const int64_t before = live_objects();
    bool cut = true;
    for (int last = 1; cut; last *= 2) {
      int calls = 0;
      job.poll = [&] {
        if (++calls == last) throw Interrupted{};
      };
      Result r;
      cut = false;
      try {
        job.run(r);
      } catch (const Interrupted&) {
        cut = true;
      }
      CHECK(live_objects() == before);
      CHECK(std::equal(r.visited.begin(), r.visited.begin() + r.done, whole.visited.begin()));
      if (cut) {
        CHECK(r.done < n);
        reached = std::max(reached, r.done);
        job.poll = [] {};
        job.run(r, r.done);
      }
      CHECK(differences(r, whole) == 0);
    }
  }
}
