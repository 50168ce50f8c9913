// Conflicts inside a window, in the emulator: resolve() against a walk in order, over random
// preferences, with lists that run out and are made anew; and what commit() writes.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/conflicts.hpp"
#include "device_array.hpp"

using emulation::Array;
using emulation::Setting;
using gtn::cuda::kFree;
using gtn::cuda::kTaken;
using gtn::cuda::ResolveTask;
using gtn::cuda::WindowState;

namespace {

struct Shape {
  int32_t sources, latents, cone, depth;
  int tastes;  // sources have one of so many orders of preference
  int taken = 0;
  uint64_t seed = 1;
};

class Game {
 public:
  explicit Game(const Shape& shape) : shape_(shape), random_(shape.seed) {
    std::vector<std::vector<int32_t>> tastes;
    for (int i = 0; i < shape.tastes; ++i) {
      std::vector<int32_t> order(static_cast<size_t>(shape.latents));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random_);
      tastes.push_back(order);
    }
    for (int32_t s = 0; s < shape.sources; ++s) {
      preferences_.push_back(tastes[random_() % tastes.size()]);
    }
    holder_.assign(static_cast<size_t>(shape.latents), kFree);
    for (int i = 0; i < shape.taken; ++i) {
      holder_[static_cast<size_t>(i * (shape.latents / shape.taken))] = kTaken;
    }
  }

  // What the greedy loop does (contract, rules 3 and 4).
  std::vector<int32_t> walk() const {
    std::vector<bool> gone;
    for (const int32_t holder : holder_) gone.push_back(holder == kTaken);
    std::vector<int32_t> choices;
    for (const auto& order : preferences_) {
      int32_t choice = INT32_MAX, seen = 0;
      for (const int32_t rank : order) {
        if (gone[static_cast<size_t>(rank)]) continue;
        choice = std::min(choice, rank);
        if (++seen == shape_.cone) break;
      }
      gone[static_cast<size_t>(choice)] = true;
      choices.push_back(choice);
    }
    return choices;
  }

  // The same by resolve() and lists that grow. Counts what is not as it should be in between.
  std::vector<int32_t> resolve(int64_t& wrong) {
    const std::vector<int32_t> expected = walk();
    const auto n = static_cast<size_t>(shape_.sources);
    room_ = shape_.latents;
    ranks_.assign(n * static_cast<size_t>(room_), -77);
    counts_.assign(n, 0);
    whole_.assign(n, 0);
    const Array<int32_t> holder(holder_), choices(std::vector<int32_t>(n, -1)), entries(n);
    const Array<int32_t> hungry(n);
    const Array<WindowState> state(std::vector<WindowState>{{}});
    std::vector<int32_t> which(n);
    std::iota(which.begin(), which.end(), 0);
    const auto free = std::count(holder_.begin(), holder_.end(), kFree);
    int32_t depth = shape_.depth, settled = -1;
    for (;;) {
      for (const int32_t s : which) list(s, depth, holder.get());
      const Array<int32_t> ranks(ranks_), counts(counts_), whole(whole_);
      const Array<double> scores(1);
      const ResolveTask task{{ranks.data(), scores.data(), counts.data(), whole.data(), room_},
                             shape_.sources,
                             shape_.cone,
                             free,
                             choices.data(),
                             entries.data(),
                             holder.data(),
                             hungry.data(),
                             state.data()};
      gtn::cuda::resolve(task, nullptr);
      const WindowState seen = state.get()[0];
      const std::vector<int32_t> chosen = choices.get(), held = holder.get();
      wrong += seen.broken != 0;
      // Every round at least one source more is settled, and what is settled is final.
      wrong += seen.settled <= settled;
      settled = seen.settled;
      for (int32_t s = 0; s < settled; ++s) {
        const int32_t rank = chosen[static_cast<size_t>(s)];
        wrong += rank != expected[static_cast<size_t>(s)];
        wrong += rank < 0 || held[static_cast<size_t>(rank)] != kTaken;
      }
      which = hungry.get();
      which.resize(static_cast<size_t>(seen.hungry));
      std::sort(which.begin(), which.end());
      std::vector<int32_t> without;
      for (int32_t s = 0; s < shape_.sources; ++s) {
        if (chosen[static_cast<size_t>(s)] < 0) without.push_back(s);
      }
      wrong += which != without;
      if (seen.hungry == 0) {
        wrong += settled != shape_.sources;
        check_entries(chosen, entries.get(), seen, wrong);
        return chosen;
      }
      ++searches;
      depth = std::min(2 * depth, room_);
    }
  }

  int searches = 0;

 private:
  // What search() finds for a source: the best `depth` that are not lost for good.
  void list(int32_t s, int32_t depth, const std::vector<int32_t>& holder) {
    const auto at = static_cast<size_t>(s);
    const int32_t lost = shape_.cone == 1 ? s : 0;
    int32_t count = 0;
    for (const int32_t rank : preferences_[at]) {
      if (holder[static_cast<size_t>(rank)] < lost) continue;
      if (count == depth) break;
      ranks_[at * static_cast<size_t>(room_) + static_cast<size_t>(count++)] = rank;
    }
    counts_[at] = count;
    whole_[at] = count < depth;
  }

  void check_entries(const std::vector<int32_t>& chosen, const std::vector<int32_t>& entries,
                     const WindowState& seen, int64_t& wrong) const {
    int32_t deepest = 0, conflicts = 0;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const int32_t entry = entries[s];
      wrong += ranks_[s * static_cast<size_t>(room_) + static_cast<size_t>(entry)] != chosen[s];
      deepest = std::max(deepest, entry);
      conflicts += entry > 0;
    }
    wrong += seen.deepest != deepest || seen.conflicts != conflicts;
  }

  Shape shape_;
  std::mt19937_64 random_;
  std::vector<std::vector<int32_t>> preferences_;
  std::vector<int32_t> holder_, ranks_, counts_, whole_;
  int32_t room_ = 0;
};

int check(const Shape& shape) {
  Game game(shape);
  int64_t wrong = 0;
  const std::vector<int32_t> chosen = game.resolve(wrong);
  CHECK(wrong == 0);
  CHECK(chosen == game.walk());
  return game.searches;
}

}  // namespace

TEST_CASE("rounds end where a walk in order ends") {
  int searches = 0;
  uint64_t seed = 0;
  for (const int32_t cone : {1, 2, 7, 64}) {
    for (const int32_t sources : {1, 2, 33, 120}) {
      for (const int tastes : {1, 4, 1000}) {
        const Setting order("GTN_EMULATOR_SEED", std::to_string(++seed));
        // All latents go; few go, and many are gone already.
        searches += check({sources, sources, cone, cone + 2, tastes, 0, seed});
        searches += check({sources, 2 * sources + 40, cone, cone, tastes, 13, seed});
      }
    }
  }
  CHECK(searches > 50);
}

TEST_CASE("the largest window") {
  check({gtn::cuda::kMostWindow, gtn::cuda::kMostWindow + 50, 1, 1200, 12});
  check({gtn::cuda::kMostWindow, gtn::cuda::kMostWindow, 3, 700, 2000});
}

TEST_CASE("a list of everything that holds nothing is a fault, and is said") {
  const Array<int32_t> ranks(std::vector<int32_t>{0, 0}), counts(std::vector<int32_t>{1, 1});
  const Array<int32_t> whole(std::vector<int32_t>{1, 1}), holder(std::vector<int32_t>(4, kFree));
  const Array<int32_t> choices(std::vector<int32_t>{-1, -1}), entries(2), hungry(2);
  const Array<double> scores(2);
  const Array<WindowState> state(std::vector<WindowState>{{}});
  gtn::cuda::resolve({{ranks.data(), scores.data(), counts.data(), whole.data(), 1},
                      2,
                      1,
                      4,
                      choices.data(),
                      entries.data(),
                      holder.data(),
                      hungry.data(),
                      state.data()},
                     nullptr);
  const WindowState seen = state.get()[0];
  CHECK(seen.broken == 1);
  CHECK(seen.hungry == 1);
  CHECK(seen.settled == 1);
}
