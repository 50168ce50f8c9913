// A task takes a chunk of latents, packs it into panels of float64 once for all sources, and scans
// the panels with the exact kernels. Each thread keeps its best latents from chunk to chunk, and
// sources share the highest threshold that any thread reached.
#include "core/exact_scan.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace gtn {
namespace {

struct Scored {
  double score;
  Rank rank;
  LatentId id;
  // The contract's preference: larger score, then lower rank.
  bool operator<(const Scored& o) const {
    return score != o.score ? score > o.score : rank < o.rank;
  }
};

constexpr int64_t kChunkBytes = 256 << 10;  // panels that stay in cache while sources scan them
constexpr int64_t kLargestChunk = 4096;     // in rows: bounds how long an interrupt waits
constexpr size_t kEntries = 1 << 18;        // kept by a thread: bounds the sources of a batch
constexpr size_t kLargestBatch = 256;
constexpr int64_t kMostSpare = 128;
constexpr size_t kFirstRoom = 64;
// For fewer sources, packing costs more than it spares.
constexpr size_t kFewSources = 4;
constexpr int64_t kRowsPerPass = 256;

void raise(std::atomic<double>& threshold, double to) {
  double now = threshold.load(std::memory_order_relaxed);
  while (now < to && !threshold.compare_exchange_weak(now, to, std::memory_order_relaxed)) {
  }
}

int64_t round_up_to(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

// The best latents that a thread saw for a source, as the kernels append them.
class ExactScan::Best {
 public:
  void start(size_t keep, double floor, std::atomic<double>* shared) {
    keep_ = keep;
    threshold_ = floor;
    shared_ = shared;
    size_ = 0;
    make_room(std::min(kFirstRoom, 2 * keep_));
  }
  // Scores below this are of no use.
  double threshold() const {
    return std::max(threshold_, shared_->load(std::memory_order_relaxed));
  }
  double* scores() { return scores_.data(); }
  int32_t* ids() { return ids_.data(); }
  int32_t size() const { return size_; }
  int32_t room() const { return room_; }

  void add(double score, LatentId id, const FreeLatents& free) {
    scores_[size_] = score;
    ids_[size_++] = id;
    if (size_ > room_) prune(free);
  }
  // Tells of entries that a kernel appended, with positions in `ids` instead of ids.
  void appended(int32_t size, std::span<const LatentId> ids, const FreeLatents& free) {
    for (; size_ < size; ++size_) {
      LatentId& id = ids_[size_];
      id = ids[id];
    }
    if (size_ > room_) prune(free);
  }
  void deliver(std::vector<Scored>& to, const FreeLatents& free) const {
    for (size_t i = 0; i < static_cast<size_t>(size_); ++i) {
      to.push_back({scores_[i], free.rank(ids_[i]), ids_[i]});
    }
  }

 private:
  void make_room(size_t room) {
    room_ = static_cast<int32_t>(room);
    const size_t size = room + kExactLanes + 1;
    if (scores_.size() >= size) return;
    scores_.resize(size);
    ids_.resize(size);
  }
  // Keeps the best `keep_` and raises the threshold to the worst of them.
  void prune(const FreeLatents& free) {
    const size_t size = size_;
    if (size < 2 * keep_) {
      make_room(std::min(2 * size, 2 * keep_));
      return;
    }
    std::vector<Scored> all;
    all.reserve(size);
    deliver(all, free);
    std::nth_element(all.begin(), all.begin() + (keep_ - 1), all.end());
    for (size_t i = 0; i < keep_; ++i) {
      scores_[i] = all[i].score;
      ids_[i] = all[i].id;
    }
    size_ = static_cast<int32_t>(keep_);
    const double least = all[keep_ - 1].score;
    raise(*shared_, least);
    // A thread sees ids in ascending order. If ids are ranks, what ties from now on ranks behind.
    threshold_ = free.distinct().all_different() ? std::nextafter(least, kInfinity) : least;
  }

  size_t keep_ = 0;
  double threshold_ = -kInfinity;
  std::atomic<double>* shared_ = nullptr;
  int32_t size_ = 0, room_ = 0;
  std::vector<double> scores_;
  std::vector<LatentId> ids_;
};

struct ExactScan::Panels {
  std::vector<double> rows, norms, inverses;
};

ExactScan::ExactScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      parallel_(parallel),
      chunk_(round_up_to(
          std::clamp<int64_t>(kChunkBytes / (8 * scorer.latents().dim), 16, kLargestChunk),
          kExactLanes)),
      live_(free.ids()) {
  ids_.reserve(free.ids());
  for (LatentId id = 0; id < free.distinct().count(); ++id) {
    if (free.is_free(id)) ids_.push_back(id);
  }
}

void ExactScan::search(std::span<const Query> queries, int64_t depth, bool,
                       std::span<CandidateList> lists) {
  if (live_ < std::ssize(ids_)) {
    std::erase_if(ids_, [&](LatentId id) { return !free_.is_free(id); });
    live_ = std::ssize(ids_);
  }
  // Spare entries serve sources whose first choices go to earlier ones of the window.
  const size_t keep = std::min<int64_t>({4 * depth + 4, depth + kMostSpare, std::ssize(ids_) + 1});
  const size_t batch = std::clamp<size_t>(kEntries / keep, 16, kLargestBatch);
  for (size_t from = 0; from < queries.size(); from += batch) {
    const size_t count = std::min(batch, queries.size() - from);
    search_batch(queries.subspan(from, count), keep, lists.subspan(from, count));
  }
}

void ExactScan::search_batch(std::span<const Query> queries, size_t keep,
                             std::span<CandidateList> lists) {
  const int64_t n = std::ssize(ids_);
  const int64_t chunks = (n + chunk_ - 1) / chunk_;
  const size_t count = queries.size();
  const size_t dim = scorer_.latents().dim;
  const bool few = count < kFewSources;
  const size_t places = round_up_to(count, scorer_.kernels().tile_sources);
  std::vector<double> sources(few ? 0 : places * dim, 0.0);
  for (size_t q = 0; q < count && !few; ++q) {
    widen_row(scorer_.sources(), queries[q].source_row, &sources[q * dim]);
  }
  std::vector<std::atomic<double>> shared(count);
  for (size_t q = 0; q < count; ++q) shared[q].store(queries[q].floor);
  std::vector<std::vector<Best>> best(parallel_.threads());
  std::vector<Panels> panels(best.size());

  parallel_.run(chunks, 1, [&](int64_t begin, int64_t end, int thread) {
    std::vector<Best>& mine = best[thread];
    if (mine.empty()) {
      mine.resize(count);
      for (size_t q = 0; q < count; ++q) mine[q].start(keep, queries[q].floor, &shared[q]);
    }
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const size_t from = chunk * chunk_;
      const auto ids = std::span<const int32_t>(ids_).subspan(
          from, std::min<int64_t>(chunk_, ids_.size() - from));
      if (few) {
        scan_rows(queries, ids, mine.data());
      } else {
        scan_panels(queries, ids, sources, panels[thread], mine.data());
      }
    }
  });

  std::vector<Scored> all;
  for (size_t q = 0; q < count; ++q) {
    all.clear();
    for (const std::vector<Best>& of_thread : best) {
      if (!of_thread.empty()) of_thread[q].deliver(all, free_);
    }
    // Nothing was dropped but what is below the floor, or at least `keep` would be here.
    const bool complete = all.size() < keep;
    if (!complete) {
      const auto worst = all.begin() + (keep - 1);
      std::nth_element(all.begin(), worst, all.end());
      all.erase(worst + 1, all.end());
    }
    CandidateList& list = lists[q];
    list.clear();
    for (const Scored& s : all) list.items.push_back({s.id, s.score, s.score});
    if (complete) {
      list.outside = std::nextafter(queries[q].floor, -kInfinity);
    } else {
      list.outside = all.back().score;
      list.outside_rank = all.back().rank;
    }
  }
}

void ExactScan::scan_rows(std::span<const Query> queries, std::span<const LatentId> ids,
                          Best* best) const {
  const DistinctLatents& distinct = free_.distinct();
  const void* rows[kRowsPerPass];
  double dots[kRowsPerPass];
  for (size_t from = 0; from < ids.size(); from += kRowsPerPass) {
    const size_t size = std::min<size_t>(kRowsPerPass, ids.size() - from);
    for (size_t i = 0; i < size; ++i) rows[i] = scorer_.latent(distinct.row(ids[from + i]));
    for (size_t q = 0; q < queries.size(); ++q) {
      scorer_.dots(rows, size, queries[q].source_row, dots);
      for (size_t i = 0; i < size; ++i) {
        const double score = dots[i] / distinct.norm(ids[from + i]);
        if (score >= best[q].threshold()) best[q].add(score, ids[from + i], free_);
      }
    }
  }
}

void ExactScan::scan_panels(std::span<const Query> queries, std::span<const LatentId> ids,
                            const std::vector<double>& sources, Panels& p, Best* best) const {
  const DistinctLatents& distinct = free_.distinct();
  const int64_t dim = scorer_.latents().dim;
  const size_t width = dim;
  const size_t lanes = kExactLanes;
  const size_t count = (ids.size() + lanes - 1) / lanes;
  p.rows.resize(chunk_ * width);
  p.norms.assign(count * lanes, std::numeric_limits<double>::quiet_NaN());
  p.inverses.assign(count * lanes, std::numeric_limits<double>::quiet_NaN());
  std::vector<double> wide(lanes * width, 0.0);
  for (size_t panel = 0; panel < count; ++panel) {
    for (size_t lane = 0; lane < lanes; ++lane) {
      const size_t i = panel * lanes + lane;
      if (i >= ids.size()) break;  // whatever lies there is a finite row with norm NaN
      if (i + lanes < ids.size()) scorer_.prefetch(distinct.row(ids[i + lanes]));
      widen_row(scorer_.latents(), distinct.row(ids[i]), &wide[lane * width]);
      p.norms[i] = distinct.norm(ids[i]);
      p.inverses[i] = 1.0 / p.norms[i];
    }
    double* out = &p.rows[panel * lanes * width];
    for (size_t k = 0; k < width; ++k) {
      for (size_t lane = 0; lane < lanes; ++lane) out[k * lanes + lane] = wide[lane * width + k];
    }
  }

  const size_t places = scorer_.kernels().tile_sources;
  ExactTile tile;
  tile.panels = p.rows.data();
  tile.norms = p.norms.data();
  tile.inverses = p.inverses.data();
  tile.panel_end = count;
  tile.dim = dim;
  for (size_t q = 0; q < queries.size(); q += places) {
    tile.sources = &sources[q * width];
    for (int64_t at = 0; at < tile.panel_end;) {
      for (size_t r = 0; r < places; ++r) {
        if (q + r >= queries.size()) {
          tile.threshold[r] = kInfinity;
          tile.hits[r] = tile.limit[r] = 0;
          continue;
        }
        Best& b = best[q + r];
        tile.threshold[r] = b.threshold();
        tile.hit_scores[r] = b.scores();
        tile.hit_positions[r] = b.ids();
        tile.hits[r] = b.size();
        tile.limit[r] = b.room();
      }
      tile.panel_begin = at;
      at = scorer_.kernels().scan(&tile);
      for (size_t r = 0; r < places && q + r < queries.size(); ++r) {
        best[q + r].appended(tile.hits[r], ids, free_);
      }
    }
  }
}

void ExactScan::remove(std::span<const LatentId> ids) {
  live_ -= std::ssize(ids);
}

}  // namespace gtn
