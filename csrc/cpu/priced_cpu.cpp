#include "cpu/priced_cpu.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/norms.hpp"
#include "core/unit_vectors.hpp"
#include "cpu/priced_tree.hpp"

namespace gtn {
namespace {

constexpr size_t kFirstWindow = 512;  // until there are guesses
constexpr size_t kWindow = 4096;      // sources searched at once
constexpr int64_t kGroupsPerThread = 2;
constexpr int64_t kTreeDims = 16;  // beyond, a tree is not tried
constexpr int32_t kFewestInTree = 1024;
constexpr int64_t kCoarseDims = 8;  // int8 is hopeless in so few dimensions

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

PricedCpuSearch::PricedCpuSearch(const Scorer& scorer, const ScoreGrid& grid,
                                 const DistinctLatents& distinct, PriceView prices,
                                 const Kernel& kernel, Parallel& parallel)
    : scorer_(scorer),
      grid_(grid),
      prices_(prices),
      kernel_(kernel),
      parallel_(parallel),
      free_(distinct),
      unit_(scorer.latents().length * scorer.sources().length),
      price_(distinct.count()),
      scans_(parallel.threads()),
      guesses_(scorer.sources(), grid) {
  for (LatentId id = 0; id < distinct.count(); ++id) price_[id] = cosine(prices.of(id));
  make_codes(scorer.latents().dim <= kCoarseDims ? Arithmetic::int16 : Arithmetic::int8);
}

void PricedCpuSearch::make_codes(Arithmetic arithmetic) {
  codes_.reset();
  digits_ = std::make_unique<PriceDigits>(arithmetic, kernel_.source_limit_int8);
  source_step_ = priced_source_step(largest_of_sources(), scorer_.latents().dim, arithmetic,
                                    kernel_.source_limit_int8);
  codes_ = std::make_unique<LatentCodes>(scorer_, free_, arithmetic, parallel_,
                                         Pricing{*digits_, source_step_, price_});
}

bool PricedCpuSearch::refine() {
  if (codes_->arithmetic() == Arithmetic::int16) return false;
  make_codes(Arithmetic::int16);
  return true;
}

double PricedCpuSearch::largest_of_sources() const {
  const Rows& rows = scorer_.sources();
  const double largest = rows.largest > 0.0 ? rows.largest : largest_coordinate(rows, parallel_);
  return std::min(1.0, largest / rows.length);
}

void PricedCpuSearch::raised(std::span<const LatentId> ids) {
  for (const LatentId id : ids) price_[id] = cosine(prices_.of(id));
  codes_->reprice(ids);
}

void PricedCpuSearch::search(std::span<const SourceRow> sources, std::span<const int64_t> before,
                             int64_t depth, std::span<PricedList> lists) {
  for (size_t from = 0; from < sources.size();) {
    const size_t window = guesses_.any(before[from]) ? kWindow : kFirstWindow;
    const size_t count = std::min(window, sources.size() - from);
    const auto some = sources.subspan(from, count);
    const auto their_before = before.subspan(from, count);
    const auto their_lists = lists.subspan(from, count);
    std::vector<double> guesses(count, -kInfinity);
    for (size_t i = 0; i < count; ++i) {
      const double guess = guesses_.of(some[i], their_before[i]);
      if (!std::isnan(guess)) guesses[i] = guess / unit_;
    }
    search_some(some, guesses, depth, their_lists);
    std::vector<SourceRow> short_rows;
    std::vector<size_t> short_at;
    for (size_t i = 0; i < count; ++i) {
      if (guesses[i] > -kInfinity && PricedGuesses::too_short(their_lists[i], depth)) {
        short_rows.push_back(some[i]);
        short_at.push_back(i);
      }
    }
    if (!short_rows.empty()) {
      std::vector<PricedList> again(short_rows.size());
      search_some(short_rows, std::vector<double>(short_rows.size(), -kInfinity), depth, again);
      for (size_t i = 0; i < short_at.size(); ++i) their_lists[short_at[i]] = std::move(again[i]);
    }
    guesses_.learn(some, their_before, their_lists);
    from += count;
  }
}

void PricedCpuSearch::search_some(std::span<const SourceRow> rows, std::span<const double> guesses,
                                  int64_t depth, std::span<PricedList> lists) {
  const int64_t count = std::ssize(rows);
  const int64_t dim = scorer_.latents().dim;
  const auto& cells = codes_->cells();
  const size_t bytes = static_cast<size_t>(codes_->steps()) * 4;
  sources_.assign(rows.size(), {});
  source_codes_.resize(rows.size() * bytes);
  bases_.resize(rows.size() * cells.size());
  std::vector<double> floors(cells.size(), kInfinity);
  for (size_t c = 0; c < cells.size(); ++c) {
    for (int32_t b = cells[c].first_band; b < cells[c].end_band; ++b) {
      floors[c] = std::min(floors[c], codes_->bands()[b].floor);
    }
  }
  parallel_.run(count, 8, [&](int64_t begin, int64_t end, int) {
    std::vector<double> row(dim);
    for (int64_t i = begin; i < end; ++i) {
      CodedSource& s = sources_[i];
      double* base = &bases_[i * cells.size()];
      s.query = i;
      s.norm = unit_;
      s.floor = guesses[i];
      unit_row(scorer_.sources(), rows[i], row.data());
      for (size_t c = 0; c < cells.size(); ++c) {
        base[c] = product(row.data(), cells[c].centre.data(), dim);
        if (base[c] - floors[c] > s.level) {
          s.level = base[c] - floors[c];
          s.nearest = static_cast<int32_t>(c);
        }
      }
      s.code =
          encode_priced_source(row.data(), dim, *digits_, source_step_, &source_codes_[i * bytes]);
      s.base = base;
      s.bytes = &source_codes_[i * bytes];
    }
  });
  if (cells.size() > 1) {
    std::stable_sort(
        sources_.begin(), sources_.end(),
        [](const CodedSource& a, const CodedSource& b) { return a.nearest < b.nearest; });
  }

  ScanSettings settings;
  settings.depth = depth;
  const ScanKernel& kernel =
      codes_->arithmetic() == Arithmetic::int8 ? kernel_.int8 : kernel_.int16;
  const int64_t threads = parallel_.threads();
  const int64_t live = codes_->live();
  const int64_t tiles = ceil_div(count, kernel.tile_sources);
  const int64_t most_tiles = Scan::most_sources(int64_t{4} * codes_->steps()) / kernel.tile_sources;
  int64_t groups = std::max(ceil_div(tiles, most_tiles), kGroupsPerThread * threads);
  groups = std::min(tiles, ceil_div(groups, threads) * threads);
  // Few codes are scanned before another thread has woken.
  int64_t parts = groups < threads && !cheap_alone() ? ceil_div(2 * threads, groups) : 1;
  parts = std::clamp<int64_t>(parts, 1, std::max<int64_t>(1, live / (4 * kPanelLatents)));
  // Of sources that several tasks scan for. Others' entries, thousands a source in heavy tails, are
  // cut to lists at once.
  std::vector<CandidateList> found(parts > 1 ? rows.size() : 0);
  for (CandidateList& list : found) list.outside = -kInfinity;
  std::vector<std::mutex> locks(found.empty() ? 0 : groups);
  parallel_.run(groups * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t group = t / parts;
      const size_t first = tiles * group / groups * kernel.tile_sources;
      const size_t last = std::min(count, tiles * (group + 1) / groups * kernel.tile_sources);
      Scan& scan = scans_[thread];
      scan.run(*codes_, kernel, settings, std::span(sources_).subspan(first, last - first),
               t % parts, parts);
      if (parts > 1) {
        const std::lock_guard lock(locks[group]);
        for (size_t i = first; i < last; ++i) scan.deliver(i - first, found[sources_[i].query]);
        continue;
      }
      CandidateList all;
      for (size_t i = first; i < last; ++i) {
        all.clear();
        all.outside = -kInfinity;
        scan.deliver(i - first, all);
        set_list(all, depth, 1.0, grid_, prices_, lists[sources_[i].query]);
      }
    }
  });
  parallel_.run(std::ssize(found), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) set_list(found[i], depth, 1.0, grid_, prices_, lists[i]);
  });
}

PricedBackend priced_cpu_backend(const InstructionSet& set) {
  return [&set](const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                PriceView prices, Parallel& parallel) -> std::unique_ptr<PricedSearch> {
    if (scorer.latents().dim <= kTreeDims && distinct.count() >= kFewestInTree) {
      auto tree = std::make_unique<PricedTree>(scorer, grid, distinct, prices, *set.tree, parallel);
      if (tree->worthwhile()) return tree;
    }
    return std::make_unique<PricedCpuSearch>(scorer, grid, distinct, prices, set.scan, parallel);
  };
}

}  // namespace gtn
