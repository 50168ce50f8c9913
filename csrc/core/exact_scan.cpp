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

constexpr int64_t kChunkBytes = 256 << 10;  // rows that stay in cache while queries score them
constexpr int64_t kLargestChunk = 4096;     // in rows: bounds how long an interrupt waits
constexpr size_t kBatch = 64;               // queries at a time: bounds the memory of their heaps

}  // namespace

ExactScan::ExactScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      parallel_(parallel),
      chunk_(std::clamp<int64_t>(kChunkBytes / (8 * scorer.latents().dim), 16, kLargestChunk)) {
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
  const int64_t chunks = std::max<int64_t>(1, (n + chunk_ - 1) / chunk_);
  const int64_t count = static_cast<int64_t>(queries.size());
  // Spare entries serve sources whose first choices go to earlier ones of the window.
  const size_t keep = static_cast<size_t>(4 * depth + 4);
  const DistinctLatents& distinct = free_.distinct();
  std::vector<std::vector<Scored>> best(static_cast<size_t>(count * chunks));

  // A task is a chunk of rows, which stay in cache while every query scores them.
  parallel_.run(chunks, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<int32_t> rows(static_cast<size_t>(chunk_));
    std::vector<double> norms(rows.size()), scores(rows.size());
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const auto from = static_cast<size_t>(chunk * chunk_);
      const size_t size = std::min(rows.size(), ids_.size() - from);
      for (size_t i = 0; i < size; ++i) {
        rows[i] = distinct.row(ids_[from + i]);
        norms[i] = distinct.norm(ids_[from + i]);
      }
      for (int64_t q = 0; q < count; ++q) {
        const Query& query = queries[static_cast<size_t>(q)];
        for (size_t i = 0; i < size; ++i) {
          if (q == 0 && i + 2 < size) scorer_.prefetch(rows[i + 2]);
          scores[i] = scorer_.score(rows[i], norms[i], query.source_row);
        }
        std::vector<Scored>& heap = best[static_cast<size_t>(chunk * count + q)];
        for (size_t i = 0; i < size; ++i) {  // the worst kept entry is on top
          if (scores[i] < query.floor) continue;
          if (heap.size() == keep && scores[i] < heap.front().score) continue;
          const Scored entry{scores[i], free_.rank(ids_[from + i]), ids_[from + i]};
          if (heap.size() == keep) {
            if (!(entry < heap.front())) continue;
            std::pop_heap(heap.begin(), heap.end());
            heap.pop_back();
          }
          heap.push_back(entry);
          std::push_heap(heap.begin(), heap.end());
        }
      }
    }
  });

  parallel_.run(count, 8, [&](int64_t begin, int64_t end, int) {
    std::vector<Scored> all;
    for (int64_t q = begin; q < end; ++q) {
      all.clear();
      bool complete = true;
      for (int64_t c = 0; c < chunks; ++c) {
        const auto& part = best[static_cast<size_t>(c * count + q)];
        complete = complete && part.size() < keep;
        all.insert(all.end(), part.begin(), part.end());
      }
      complete = complete && all.size() <= keep;
      const auto kept = static_cast<std::ptrdiff_t>(std::min(keep, all.size()));
      std::partial_sort(all.begin(), all.begin() + kept, all.end());
      all.resize(static_cast<size_t>(kept));
      CandidateList& list = lists[static_cast<size_t>(q)];
      list.clear();
      for (const Scored& s : all) list.items.push_back({s.id, s.score, s.score});
      if (complete) {
        list.outside = std::nextafter(queries[static_cast<size_t>(q)].floor, -kInfinity);
      } else {
        list.outside = all.back().score;
        list.outside_rank = all.back().rank;
      }
    }
  });
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
