// Implements exact_scan.hpp.
#include "core/exact_scan.hpp"

#include <algorithm>
#include <cmath>

namespace gtn {
namespace {

struct Scored {
  double score;
  int32_t rank;
  int32_t id;
  // The contract's preference: larger score, then lower rank.
  bool operator<(const Scored& o) const {
    return score != o.score ? score > o.score : rank < o.rank;
  }
};

constexpr int64_t kChunk = 256;  // latents a task
constexpr size_t kBatch = 64;    // queries at a time: bounds the memory of their heaps

}  // namespace

ExactScan::ExactScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer), free_(free), parallel_(parallel) {
  const int32_t n = free.distinct().count();
  position_.assign(static_cast<size_t>(n), -1);
  ids_.reserve(static_cast<size_t>(free.ids()));
  for (int32_t id = 0; id < n; ++id) {
    if (!free.is_free(id)) continue;
    position_[static_cast<size_t>(id)] = static_cast<int32_t>(ids_.size());
    ids_.push_back(id);
  }
}

void ExactScan::search(std::span<const Query> queries, int64_t depth, bool,
                       std::span<CandidateList> lists) {
  for (size_t from = 0; from < queries.size(); from += kBatch) {
    const size_t count = std::min(kBatch, queries.size() - from);
    search_batch(queries.subspan(from, count), depth, lists.subspan(from, count));
  }
}

void ExactScan::search_batch(std::span<const Query> queries, int64_t depth,
                             std::span<CandidateList> lists) {
  const int64_t n = static_cast<int64_t>(ids_.size());
  const int64_t chunks = std::max<int64_t>(1, (n + kChunk - 1) / kChunk);
  const int64_t count = static_cast<int64_t>(queries.size());
  // Spare entries serve sources whose first choices go to earlier ones of the window.
  const size_t keep = static_cast<size_t>(4 * depth + 4);
  const DistinctLatents& distinct = free_.distinct();
  // By chunk, then query: the rows of a chunk stay in cache while every query scores them.
  std::vector<std::vector<Scored>> best(static_cast<size_t>(count * chunks));

  // Tasks of some ten microseconds at least: a task scores min(n, kChunk) rows.
  const int64_t task_cost = std::min(n, kChunk) * (16 + scorer_.latents().dim);
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(task_cost, 1));
  parallel_.run(count * chunks, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin; task < end; ++task) {
      const Query& query = queries[static_cast<size_t>(task % count)];
      std::vector<Scored>& heap = best[static_cast<size_t>(task)];  // worst kept entry on top
      const int64_t from = task / count * kChunk;
      const int64_t to = std::min(n, from + kChunk);
      for (int64_t at = from; at < to; ++at) {
        const int32_t id = ids_[static_cast<size_t>(at)];
        if (at + 2 < to) scorer_.prefetch(distinct.row(ids_[static_cast<size_t>(at) + 2]));
        const double score = scorer_.score(distinct.row(id), distinct.norm(id), query.source_row);
        if (score < query.floor) continue;
        const Scored entry{score, free_.rank(id), id};
        if (heap.size() < keep) {
          heap.push_back(entry);
          std::push_heap(heap.begin(), heap.end());
        } else if (entry < heap.front()) {
          std::pop_heap(heap.begin(), heap.end());
          heap.back() = entry;
          std::push_heap(heap.begin(), heap.end());
        }
      }
    }
  });

  for (int64_t q = 0; q < count; ++q) {
    std::vector<Scored> all;
    bool complete = true;
    for (int64_t c = 0; c < chunks; ++c) {
      const auto& part = best[static_cast<size_t>(c * count + q)];
      complete = complete && part.size() < keep;
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end());
    complete = complete && all.size() <= keep;
    if (all.size() > keep) all.resize(keep);
    CandidateList& list = lists[static_cast<size_t>(q)];
    list.clear();
    for (const Scored& s : all) list.items.push_back({s.id, s.score, s.score});
    if (complete) {
      const double floor = queries[static_cast<size_t>(q)].floor;
      list.outside = std::nextafter(floor, -kInfinity);
    } else {
      list.outside = all.back().score;
      list.outside_rank = all.back().rank;
    }
  }
}

void ExactScan::remove(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    const int32_t at = position_[static_cast<size_t>(id)];
    if (at < 0) continue;
    const int32_t last = ids_.back();
    ids_[static_cast<size_t>(at)] = last;
    position_[static_cast<size_t>(last)] = at;
    position_[static_cast<size_t>(id)] = -1;
    ids_.pop_back();
  }
}

}  // namespace gtn
