// Implements shortlist_cpu.hpp. A task scans a group of sources against a stretch of panels; its
// hits are pruned to what a certificate of the `depth` best can need.
#include "cpu/shortlist_cpu.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <mutex>

namespace gtn {
namespace {

// So many sources share a panel while it is in cache.
constexpr int64_t kSourcesPerTask = 48;
// Panels scanned before the next tile: they stay in level-1 cache.
constexpr int64_t kPanelBytesPerChunk = 24 << 10;
// Bounds a task to a fraction of a second, so that an interrupt is served.
constexpr double kProductsPerTask = 2e10;
// Some 50 microseconds: waking other threads for less does not pay.
constexpr double kProductsWorthSharing = 1e7;
// Hits kept before the first pruning, and where a list is cut.
constexpr size_t kFirstRoom = 128;
constexpr size_t kLargestRoom = 4096;
// int8 is hopeless in so few dimensions: start with int16.
constexpr int64_t kCoarseDims = 16;
// Rounding of bars against bounds, in cosines.
constexpr double kBarSlack = 1e-14;

int32_t round_up_to(int32_t value, int32_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

struct CpuShortlist::Coded {
  SourceCode code;
  size_t query = 0;  // its place among the queries
  double norm = 0.0;
  double floor = -kInfinity;     // in cosines
  double level = -kInfinity;     // largest base of a cell: what guesses are relative to
  int32_t nearest = 0;           // that cell
  const double* base = nullptr;  // [cells]: cosine with each centre
};

// The state of one source in one task: its bar and its hits.
struct CpuShortlist::Row {
  const Coded* source = nullptr;
  double bar = -kInfinity;  // listed: upper bound >= bar, in cosines
  bool truncated = false;   // the bar had to rise above what a certificate needs
  std::vector<int32_t> sums, positions;
  int32_t hits = 0;
  size_t room = kFirstRoom;  // prune beyond
};

class CpuShortlist::Task {
 public:
  Task(const CpuShortlist& owner, std::span<const Coded> sources, const std::byte* codes,
       int64_t depth, double guess);
  // Scans the part-th of `parts` equal shares of every cell's panels.
  void scan(int64_t part, int64_t parts);
  // Appends the hits to the list; raises the list's outside bound.
  void deliver(size_t i, CandidateList& list) const;
  double bar(size_t i) const { return rows_[i].bar; }
  bool truncated(size_t i) const { return rows_[i].truncated; }

 private:
  double unit(const Row& row, const Cell& cell) const { return cell.step * row.source->code.step; }
  double error(const Row& row, const Cell& cell) const {
    const SourceCode& c = row.source->code;
    return c.coded_norm * cell.residual + c.residual * cell.radius + slack_;
  }
  double bound(const Row& row, size_t hit, double sign) const {
    const size_t c = codes_.cell_of(row.positions[hit]);
    return row.source->base[c] + unit(row, cells_[c]) * row.sums[hit] +
           sign * error(row, cells_[c]);
  }
  double upper(const Row& row, size_t hit) const { return bound(row, hit, 1.0); }
  int32_t threshold(const Row& row, size_t cell) const;
  double largest_sum(const Row& row, size_t cell) const;
  void prune(Row& row);
  void keep_above(Row& row);
  void scan_panels(size_t cell, int64_t begin, int64_t end);

  const LatentCodes& codes_;
  const std::vector<Cell>& cells_;
  const std::byte* source_codes_;
  int64_t depth_;
  double slack_;
  const ScanKernel& kernel_;
  size_t tile_sources_;
  int32_t source_steps_;
  std::vector<Row> rows_;
  std::vector<double> scratch_;
};

CpuShortlist::Task::Task(const CpuShortlist& owner, std::span<const Coded> sources,
                         const std::byte* codes, int64_t depth, double guess)
    : codes_(*owner.codes_),
      cells_(codes_.cells()),
      source_codes_(codes),
      depth_(depth),
      slack_(4.0 * rounding_slack(owner.scorer_.latents().dim)),
      kernel_(owner.scan_kernel()),
      tile_sources_(static_cast<size_t>(kernel_.tile_sources)),
      source_steps_(round_up_to(codes_.steps(), kernel_.step_multiple)),
      rows_(sources.size()) {
  for (size_t i = 0; i < sources.size(); ++i) {
    Row& row = rows_[i];
    row.source = &sources[i];
    row.bar = std::max(guess + row.source->level, row.source->floor - 4.0 * kBarSlack);
    row.room = std::max(kFirstRoom, static_cast<size_t>(4 * depth));
    row.sums.resize(row.room + kPanelLatents + 16);
    row.positions.resize(row.sums.size());
  }
}

// The least sum whose upper bound reaches the row's bar.
int32_t CpuShortlist::Task::threshold(const Row& row, size_t cell) const {
  if (row.bar == -kInfinity) return INT32_MIN + 1;
  const Cell& c = cells_[cell];
  const double least = std::ceil((row.bar - error(row, c) - row.source->base[cell]) / unit(row, c));
  if (!(least > -2147483647.0)) return INT32_MIN + 1;
  return least >= 2147483647.0 ? INT32_MAX : static_cast<int32_t>(least);
}

// Drops the hits that are below the row's bar, and lanes behind the last latent.
void CpuShortlist::Task::keep_above(Row& row) {
  int32_t kept = 0;
  for (int32_t h = 0; h < row.hits; ++h) {
    const auto at = static_cast<size_t>(h);
    const int32_t position = row.positions[at];
    if (codes_.id_at(position) < 0 || upper(row, at) < row.bar) continue;
    row.sums[static_cast<size_t>(kept)] = row.sums[at];
    row.positions[static_cast<size_t>(kept)] = position;
    ++kept;
  }
  row.hits = kept;
}

// Raises the bar to the depth-th largest lower bound: that many latents are certain to reach it.
void CpuShortlist::Task::prune(Row& row) {
  keep_above(row);
  const auto fill = [&](double sign) {
    scratch_.clear();
    for (int32_t h = 0; h < row.hits; ++h) {
      scratch_.push_back(bound(row, static_cast<size_t>(h), sign));
    }
  };
  const auto nth_largest = [&](size_t n) {
    std::nth_element(scratch_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(n - 1),
                     scratch_.end(), std::greater<>());
    return scratch_[n - 1];
  };
  if (row.hits >= depth_) {
    fill(-1.0);
    row.bar = std::max(row.bar, nth_largest(static_cast<size_t>(depth_)));
    keep_above(row);
  }
  if (static_cast<size_t>(row.hits) <= row.room / 2) return;
  if (row.room < std::max(kLargestRoom, static_cast<size_t>(8 * depth_))) {
    row.room *= 2;
    row.sums.resize(row.room + kPanelLatents + 16);
    row.positions.resize(row.sums.size());
    return;
  }
  // Too many latents that these codes cannot tell apart: keep a quarter and admit the loss in the
  // bar.
  fill(1.0);
  row.truncated = true;
  row.bar = std::max(row.bar, std::nextafter(nth_largest(row.room / 4), kInfinity));
  keep_above(row);
}

// The sum that no latent of the cell can exceed, by Cauchy-Schwarz.
double CpuShortlist::Task::largest_sum(const Row& row, size_t cell) const {
  const Cell& c = cells_[cell];
  return row.source->code.coded_norm * (c.radius + c.residual) / unit(row, c);
}

void CpuShortlist::Task::scan(int64_t part, int64_t parts) {
  // Cells nearest to the task's sources first: the sooner bars rise, the more is skipped.
  std::vector<std::pair<double, size_t>> order;
  for (size_t c = 0; c < cells_.size(); ++c) {
    if (cells_[c].live == 0) continue;
    double top = -kInfinity;
    for (const Row& row : rows_) top = std::max(top, row.source->base[c] + cells_[c].radius);
    order.emplace_back(-top, c);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [_, c] : order) {
    const int64_t panels = (cells_[c].live + kPanelLatents - 1) / kPanelLatents;
    const int64_t first = cells_[c].first_panel;
    scan_panels(c, first + panels * part / parts, first + panels * (part + 1) / parts);
  }
  for (Row& row : rows_) prune(row);
}

void CpuShortlist::Task::scan_panels(size_t cell, int64_t begin, int64_t end) {
  const int64_t panel_bytes = int64_t{4} * kPanelLatents * codes_.steps();
  const int64_t chunk = std::max<int64_t>(1, kPanelBytesPerChunk / panel_bytes);
  const size_t tiles = (rows_.size() + tile_sources_ - 1) / tile_sources_;
  std::vector<ScanTile> scans(tiles);
  const auto bind = [&](ScanTile& scan, size_t tile, size_t r) {
    const size_t i = tile * tile_sources_ + r;
    if (i >= rows_.size()) {  // an empty place in the last tile: nothing reaches it
      scan.threshold[r] = INT32_MAX;
      scan.hit_sums[r] = scan.hit_positions[r] = nullptr;
      scan.start[r] = scan.hits[r] = scan.limit[r] = 0;
      return;
    }
    Row& row = rows_[i];
    scan.start[r] = row.source->code.start;
    scan.threshold[r] = threshold(row, cell);
    scan.hit_sums[r] = row.sums.data();
    scan.hit_positions[r] = row.positions.data();
    scan.hits[r] = row.hits;
    scan.limit[r] = static_cast<int32_t>(row.room);
  };
  bool any = false;
  std::vector<bool> skip(tiles);
  for (size_t t = 0; t < tiles; ++t) {
    ScanTile& scan = scans[t];
    scan.panels = codes_.panels();
    scan.steps = codes_.steps();
    scan.source_steps = source_steps_;
    scan.sources = source_codes_ + t * tile_sources_ * 4 * static_cast<size_t>(source_steps_);
    bool reachable = false;
    for (size_t r = 0; r < tile_sources_; ++r) {
      bind(scan, t, r);
      const size_t i = t * tile_sources_ + r;
      reachable |= i < rows_.size() && scan.threshold[r] <= largest_sum(rows_[i], cell);
    }
    skip[t] = !reachable;
    any |= reachable;
  }
  if (!any) return;
  for (int64_t from = begin; from < end; from += chunk) {
    const int64_t to = std::min(end, from + chunk);
    for (size_t t = 0; t < tiles; ++t) {
      if (skip[t]) continue;
      ScanTile& scan = scans[t];
      for (int64_t at = from; at < to;) {
        scan.panel_begin = at;
        scan.panel_end = to;
        at = kernel_.scan(&scan);
        for (size_t r = 0; r < tile_sources_; ++r) {
          if (scan.hits[r] <= scan.limit[r]) continue;
          Row& row = rows_[t * tile_sources_ + r];
          row.hits = scan.hits[r];
          prune(row);
          bind(scan, t, r);
        }
      }
    }
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    rows_[i].hits = scans[i / tile_sources_].hits[i % tile_sources_];
  }
}

void CpuShortlist::Task::deliver(size_t i, CandidateList& list) const {
  const Row& row = rows_[i];
  const double norm = row.source->norm;
  for (int32_t h = 0; h < row.hits; ++h) {
    const auto at = static_cast<size_t>(h);
    list.items.push_back({codes_.id_at(row.positions[at]), upper(row, at) * norm});
  }
  list.outside = std::max(list.outside, (row.bar + kBarSlack) * norm);
}

CpuShortlist::CpuShortlist(const Scorer& scorer, const FreeLatents& free, const Kernel& kernel,
                           bool int16_allowed, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      kernel_(kernel),
      int16_allowed_(int16_allowed),
      parallel_(parallel) {
  const bool fine = int16_allowed && scorer.latents().dim <= kCoarseDims;
  codes_ = std::make_unique<LatentCodes>(scorer, free, fine ? Arithmetic::int16 : Arithmetic::int8,
                                         parallel);
}

void CpuShortlist::search(std::span<const Query> queries, int64_t depth, bool guess,
                          std::span<CandidateList> lists) {
  const int64_t count = static_cast<int64_t>(queries.size());
  const int64_t dim = scorer_.latents().dim;
  const auto& cells = codes_->cells();
  const ScanKernel& kernel = scan_kernel();
  const int64_t source_bytes = int64_t{4} * round_up_to(codes_->steps(), kernel.step_multiple);
  const int64_t live = codes_->live();

  // Chunks of some ten microseconds at least.
  const int64_t grain =
      std::max<int64_t>(8, 32768 / (dim * static_cast<int64_t>(cells.size() + 4)));

  // Sources of one direction share a tile, so that tiles skip most cells.
  std::vector<Coded> coded(queries.size());
  std::vector<double> bases(queries.size() * cells.size());
  parallel_.run(count, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<double> unit(static_cast<size_t>(dim));
    for (int64_t i = begin; i < end; ++i) {
      const Query& q = queries[static_cast<size_t>(i)];
      Coded& c = coded[static_cast<size_t>(i)];
      double* base = &bases[static_cast<size_t>(i) * cells.size()];
      c.base = base;
      c.query = static_cast<size_t>(i);
      c.norm = q.source_norm;
      c.floor = q.floor / q.source_norm;
      unit_source(scorer_.sources(), q.source_row, q.source_norm, unit.data());
      for (size_t k = 0; k < cells.size(); ++k) {
        base[k] = cells[k].live == 0 ? -2.0 : product(unit.data(), cells[k].centre.data(), dim);
        if (base[k] > c.level) {
          c.level = base[k];
          c.nearest = static_cast<int32_t>(k);
        }
      }
    }
  });
  if (cells.size() > 1) {
    std::stable_sort(coded.begin(), coded.end(),
                     [](const Coded& a, const Coded& b) { return a.nearest < b.nearest; });
  }
  const int64_t padded = round_up_to(static_cast<int32_t>(count), kernel.tile_sources);
  std::vector<std::byte> codes(static_cast<size_t>(padded * source_bytes));
  parallel_.run(count, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<double> unit(static_cast<size_t>(dim));
    for (int64_t i = begin; i < end; ++i) {
      Coded& c = coded[static_cast<size_t>(i)];
      const Query& q = queries[c.query];
      unit_source(scorer_.sources(), q.source_row, q.source_norm, unit.data());
      c.code = encode_source(unit.data(), dim, codes_->arithmetic(), kernel_.source_limit_int8,
                             codes.data() + i * source_bytes);
    }
  });

  // Tasks: groups of whole tiles, times parts of the panels where groups are few or parts long.
  const int64_t threads = parallel_.threads();
  const int64_t tiles = padded / kernel.tile_sources;
  const int64_t tiles_per_task =
      std::clamp<int64_t>(tiles / (4 * threads), 1, kSourcesPerTask / kernel.tile_sources);
  const int64_t per_task = tiles_per_task * kernel.tile_sources;
  const int64_t groups = (count + per_task - 1) / per_task;
  const double products = static_cast<double>(live) * static_cast<double>(dim * per_task);
  int64_t parts = static_cast<int64_t>(products / kProductsPerTask) + 1;
  if (groups < threads && products > kProductsWorthSharing) {
    parts = std::max(parts, (2 * threads + groups - 1) / groups);
  }
  parts = std::clamp<int64_t>(parts, 1, std::max<int64_t>(1, live / (4 * kPanelLatents)));

  for (CandidateList& list : lists) {
    list.clear();
    list.outside = -kInfinity;
  }
  std::vector<double> reached(queries.size(), -kInfinity);
  std::atomic<int64_t> truncated{0};
  std::vector<std::mutex> locks(static_cast<size_t>(parts > 1 ? groups : 0));
  parallel_.run(groups * parts, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t group = t / parts;
      const int64_t first = group * per_task;
      const int64_t last = std::min(count, first + per_task);
      Task task(
          *this,
          std::span(coded).subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)),
          codes.data() + first * source_bytes, depth, guess ? guess_ : -kInfinity);
      task.scan(t % parts, parts);
      std::unique_lock<std::mutex> lock;
      if (parts > 1) lock = std::unique_lock(locks[static_cast<size_t>(group)]);
      for (int64_t i = first; i < last; ++i) {
        const Coded& source = coded[static_cast<size_t>(i)];
        const size_t at = source.query;
        task.deliver(static_cast<size_t>(i - first), lists[at]);
        const double bar = task.bar(static_cast<size_t>(i - first)) - source.level;
        reached[at] = std::max(reached[at], bar);
        truncated += task.truncated(static_cast<size_t>(i - first));
      }
    }
  });
  if (guess) {
    adapt(lists, reached, truncated.load());
  } else if (queries.size() > 1) {  // the last window's sources for which the guess was too high
    missed_ = count;
  }
}

// After a window: the bar to start the next one with, and the arithmetic to go on with.
void CpuShortlist::adapt(std::span<const CandidateList> lists, std::vector<double>& reached,
                         int64_t truncated) {
  const size_t count = lists.size();
  const auto quantile = [&](double q) {
    const auto at =
        reached.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(count - 1));
    std::nth_element(reached.begin(), at, reached.end());
    return *at;
  };
  // A miss costs a second search, a low guess more entries: a few misses in a hundred are best.
  const double misses = static_cast<double>(missed_) / static_cast<double>(count);
  missed_ = 0;
  guess_quantile_ = std::clamp(guess_quantile_ * (misses > 0.03 ? 0.6 : 1.15), 0.001, 0.25);
  const double low = quantile(guess_quantile_);
  if (misses > 0.2) {  // the latents changed faster than guesses follow: begin anew
    guess_ = -kInfinity;
  } else if (low > guess_) {
    guess_ = low;
  } else if (guess_ > -kInfinity) {  // too many found fewer than `depth` latents above the guess
    guess_ -= 0.25 * (quantile(0.75) - guess_) + 1e-9;
  }

  if (codes_->arithmetic() == Arithmetic::int16 || !int16_allowed_) return;
  const double dim = static_cast<double>(scorer_.latents().dim);
  const double live = static_cast<double>(codes_->live());
  double listed = 0.0;
  for (const CandidateList& list : lists) listed += static_cast<double>(list.items.size());
  // In processor cycles, roughly: an entry costs a pruning and an exact score, a truncated list a
  // full scan; int16 takes twice the time of int8's 64 products a cycle.
  const double coarse = listed * (60.0 + dim) + static_cast<double>(truncated) * live * dim / 2.0;
  const double finer = static_cast<double>(count) * live * dim / 64.0;
  if (coarse > 1.5 * finer) {
    codes_.reset();
    codes_ = std::make_unique<LatentCodes>(scorer_, free_, Arithmetic::int16, parallel_);
  }
}

void CpuShortlist::remove(std::span<const int32_t> ids) {
  for (const int32_t id : ids) codes_->remove(id);
}

void CpuShortlist::describe(Stats& stats) const {
  stats.arithmetic = codes_->arithmetic() == Arithmetic::int8 ? "int8" : "int16";
  stats.work_bytes += codes_->bytes();
}

}  // namespace gtn
