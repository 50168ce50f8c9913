#include "faiss/block_search.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>

namespace gtn {
namespace {

constexpr double kSecondsPerCall = 0.2;
// Until one has been timed: slow enough for any library.
constexpr double kFirstRate = 5e9;
// Matrix products lose their speed below so many rows or queries.
constexpr int64_t kFewestRows = 8192;
constexpr int64_t kFewestQueries = 64;
// Some 100 microseconds: sharing less does not pay.
constexpr double kProductsWorthSharing = 5e6;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

BlockSearch::BlockSearch(InnerProductIndex& index, Parallel& parallel)
    : index_(index),
      parallel_(parallel),
      scratch_(parallel.threads()),
      products_a_second_(kFirstRate) {
  if (index.most_k() < 1) {
    throw std::invalid_argument("most_k of an index must be >= 1, got " +
                                std::to_string(index.most_k()));
  }
}

void BlockSearch::run(const FloatRows& rows, const FloatRows& queries, int64_t k,
                      FunctionRef<void(const Found&)> on_found) {
  if (rows.count == 0 || queries.count == 0) return;
  // Blocks of queries times parts of the rows.
  const double per_query = static_cast<double>(rows.count) * static_cast<double>(rows.dim);
  const double products = per_query * static_cast<double>(queries.count);
  const bool share = index_.concurrent() && products > kProductsWorthSharing;
  const int64_t threads = share ? parallel_.threads() : 1;
  const double most = kSecondsPerCall * products_a_second_;
  const int64_t calls = std::max(threads, static_cast<int64_t>(products / most) + 1);
  int64_t blocks = std::min(threads, ceil_div(queries.count, kFewestQueries));
  int64_t parts = 1;
  if (index_.reads_rows()) {
    parts = std::clamp<int64_t>(ceil_div(calls, blocks), 1, ceil_div(rows.count, kFewestRows));
  }
  blocks = std::clamp<int64_t>(ceil_div(calls, parts), 1, queries.count);

  std::vector<std::mutex> locks(blocks);
  std::atomic<double> rate{0.0};
  const auto task = [&](int64_t t, int thread) {
    const int64_t block = t / parts, part = t % parts;
    const int64_t first = queries.count * block / blocks;
    const int64_t last = queries.count * (block + 1) / blocks;
    const int64_t first_row = rows.count * part / parts;
    const int64_t end_row = rows.count * (part + 1) / parts;
    Found found;
    const auto began = std::chrono::steady_clock::now();
    call(rows.part(first_row, end_row - first_row), queries.part(first, last - first), first,
         first_row, k, scratch_[thread], found);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (took.count() > 0.0) {
      rate.store(static_cast<double>((end_row - first_row) * (last - first) * rows.dim) /
                 took.count());
    }
    const std::lock_guard lock(locks[block]);
    on_found(found);
  };
  if (share) {
    parallel_.run(blocks * parts, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t t = begin; t < end; ++t) task(t, thread);
    });
  } else {
    for (int64_t t = 0; t < blocks * parts; ++t) {
      task(t, 0);
      parallel_.poll_if_due();
    }
  }
  // Few queries say little, and a call too short for the clock nothing.
  if (queries.count >= kFewestQueries && rate.load() > 0.0) products_a_second_ = rate.load();
}

void BlockSearch::call(const FloatRows& rows, const FloatRows& queries, int64_t first,
                       int64_t first_row, int64_t k, Scratch& scratch, Found& found) {
  const int64_t few = std::min({k, rows.count, index_.most_k()});
  const size_t size = queries.count * few;
  scratch.scores.resize(std::max(scratch.scores.size(), size));
  scratch.positions.resize(std::max(scratch.positions.size(), size));
  const std::span scores = std::span(scratch.scores).first(size);
  const std::span positions = std::span(scratch.positions).first(size);
  index_.search(rows, queries, few, scores, positions);
  found = {first, first_row, rows.count, few, scores, positions};
}

}  // namespace gtn
