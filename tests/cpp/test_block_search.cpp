// BlockSearch meets every pair of a query and a row once, whatever the shape, and ends with what
// goes wrong inside.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "faiss/block_search.hpp"

namespace {

// Notes what is asked of it and looks at no row.
class Recorder final : public gtn::InnerProductIndex {
 public:
  Recorder(bool reads_rows, bool concurrent, int64_t most_k)
      : reads_rows_(reads_rows), concurrent_(concurrent), most_k_(most_k) {}
  bool reads_rows() const override { return reads_rows_; }
  bool concurrent() const override { return concurrent_; }
  int64_t most_k() const override { return most_k_; }
  void load(const gtn::FloatRows&) override {}
  void search(const gtn::FloatRows& rows, const gtn::FloatRows& queries, int64_t k,
              std::span<float> scores, std::span<int64_t> positions) override {
    if (inside_.fetch_add(1) > 0 && !concurrent_) ++wrong;
    const auto size = static_cast<size_t>(queries.count * k);
    if (k < 1 || k > most_k_ || k > rows.count || scores.size() != size) ++wrong;
    if (calls == throw_at) {
      inside_.fetch_sub(1);
      throw std::out_of_range("from the index");
    }
    ++calls;
    // Long enough for other threads to come.
    if (rows.count * queries.count > 1000000) {
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    for (size_t i = 0; i < size; ++i) {
      positions[i] = static_cast<int64_t>(i) % k;
      scores[i] = 0.5f;
    }
    inside_.fetch_sub(1);
  }
  std::atomic<int> calls{0}, wrong{0};
  int throw_at = -1;

 private:
  bool reads_rows_, concurrent_;
  int64_t most_k_;
  std::atomic<int> inside_{0};
};

struct Rectangle {
  int64_t first, last, first_row, end_row;
};

int64_t overlaps(const std::vector<Rectangle>& all) {
  int64_t count = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      count += all[i].first < all[j].last && all[j].first < all[i].last &&
               all[i].first_row < all[j].end_row && all[j].first_row < all[i].end_row;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("every query meets every row once") {
  constexpr int64_t kDim = 100;
  // Never read or written: only places count.
  const auto memory = std::make_unique_for_overwrite<float[]>(200000 * kDim);
  size_t most_calls = 0;
  for (const int threads : {1, 2, 5}) {
    gtn::Parallel parallel(threads);
    for (const bool reads_rows : {true, false}) {
      for (const bool concurrent : {true, false}) {
        for (const int64_t most_k : {7, 1 << 30}) {
          Recorder index(reads_rows, concurrent, most_k);
          gtn::BlockSearch search(index,
                                  parallel);  // learns from shape to shape how long a call takes
          for (const int64_t n : {200000, 8193, 8192, 8191, 100, 2, 1}) {
            for (const int64_t queries : {1000, 65, 64, 15, 1}) {
              const int64_t k = n % 2 == 0 ? 3 : 40;
              std::vector<Rectangle> met;
              std::vector<std::atomic<int>> busy(static_cast<size_t>(queries));
              std::mutex mutex;
              std::atomic<int> wrong{0};
              search.run(
                  {memory.get(), n, kDim}, {memory.get(), queries, kDim}, k,
                  [&](const gtn::BlockSearch::Found& f) {
                    auto& here = busy[static_cast<size_t>(f.first)];
                    wrong += here.fetch_add(1);
                    const auto count = static_cast<int64_t>(f.scores.size()) / f.k;
                    wrong += f.k != std::min({k, f.rows, most_k});
                    wrong += f.scores.size() != f.positions.size();
                    wrong += f.scores.front() != 0.5f || f.positions.back() != f.k - 1;
                    {
                      const std::lock_guard lock(mutex);
                      met.push_back({f.first, f.first + count, f.first_row, f.first_row + f.rows});
                    }
                    here.fetch_sub(1);
                  });
              int64_t area = 0;
              for (const Rectangle& r : met) {
                wrong += r.first < 0 || r.last > queries || r.first_row < 0 || r.end_row > n;
                wrong += !reads_rows && (r.first_row != 0 || r.end_row != n);
                area += (r.last - r.first) * (r.end_row - r.first_row);
              }
              CHECK(wrong == 0);
              CHECK(area == n * queries);
              CHECK(overlaps(met) == 0);
              most_calls = std::max(most_calls, met.size());
            }
          }
          CHECK(index.wrong == 0);
        }
      }
    }
  }
  CHECK(most_calls >= 20);  // or nothing was shared
}

TEST_CASE("calls grow with the speed of the index") {
  constexpr int64_t kDim = 100, kRows = 100000;
  const auto memory = std::make_unique_for_overwrite<float[]>(kRows * kDim);
  gtn::Parallel parallel(1);
  Recorder index(true, true, 10);
  gtn::BlockSearch search(index, parallel);
  int calls[2];
  for (int& count : calls) {
    index.calls = 0;
    search.run({memory.get(), kRows, kDim}, {memory.get(), 1000, kDim}, 3,
               [](const gtn::BlockSearch::Found&) {});
    count = index.calls;
  }
  CHECK(calls[0] >= 10);  // nothing is known of it yet
  CHECK(calls[1] < calls[0]);
}

TEST_CASE("nothing to search, or nothing that can be found") {
  gtn::Parallel parallel(2);
  Recorder index(true, true, 5);
  gtn::BlockSearch search(index, parallel);
  const float value = 1.0f;
  const auto never = [](const gtn::BlockSearch::Found&) { FAIL("found something"); };
  search.run({&value, 0, 1}, {&value, 1, 1}, 3, never);
  search.run({&value, 1, 1}, {&value, 0, 1}, 3, never);
  CHECK(index.calls == 0);
  Recorder empty(true, true, 0);
  CHECK_THROWS_WITH_AS(gtn::BlockSearch(empty, parallel), "most_k of an index must be >= 1, got 0",
                       std::invalid_argument);
}

TEST_CASE("an exception in any thread's call ends the search, and the next one works") {
  constexpr int64_t kDim = 100, kRows = 100000;
  const auto memory = std::make_unique_for_overwrite<float[]>(kRows * kDim);
  for (const int threads : {1, 3}) {
    gtn::Parallel parallel(threads);
    for (const bool concurrent : {true, false}) {
      for (const int at : {0, 1, 5}) {
        Recorder index(true, concurrent, 100);
        gtn::BlockSearch search(index, parallel);
        index.throw_at = at;
        const auto ignore = [](const gtn::BlockSearch::Found&) {};
        const gtn::FloatRows rows{memory.get(), kRows, kDim}, queries{memory.get(), 1000, kDim};
        CHECK_THROWS_WITH_AS(search.run(rows, queries, 3, ignore), "from the index",
                             std::out_of_range);
        index.throw_at = -1;
        search.run(rows, queries, 3, ignore);
        index.calls = 0;
        CHECK_THROWS_WITH_AS(
            search.run(rows, queries, 3,
                       [](const gtn::BlockSearch::Found&) { throw std::length_error("found"); }),
            "found", std::length_error);
        CHECK(index.wrong == 0);
      }
    }
  }
}

TEST_CASE("a long search is polled") {
  constexpr int64_t kDim = 100, kRows = 100000;
  const auto memory = std::make_unique_for_overwrite<float[]>(kRows * kDim);
  class Slow final : public gtn::InnerProductIndex {
   public:
    bool reads_rows() const override { return true; }
    bool concurrent() const override { return false; }
    int64_t most_k() const override { return 10; }
    void load(const gtn::FloatRows&) override {}
    void search(const gtn::FloatRows&, const gtn::FloatRows&, int64_t, std::span<float> scores,
                std::span<int64_t> positions) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::fill(scores.begin(), scores.end(), 0.0f);
      std::fill(positions.begin(), positions.end(), 0);
    }
  } slow;
  const auto stop = [] { throw std::runtime_error("stop"); };
  gtn::Parallel parallel(2, stop);
  gtn::BlockSearch search(slow, parallel);
  CHECK_THROWS_WITH_AS(search.run({memory.get(), kRows, kDim}, {memory.get(), 1000, kDim}, 3,
                                  [](const gtn::BlockSearch::Found&) {}),
                       "stop", std::runtime_error);
}
