#include "cpu/shortlist_cpu.hpp"

#include <algorithm>
#include <mutex>

#include "core/unit_vectors.hpp"

namespace gtn {
namespace {

// Groups of sources a thread gets in a window, so that threads end together.
constexpr int64_t kGroupsPerThread = 2;
// Bounds a task to a fraction of a second, so that an interrupt is served.
constexpr double kProductsPerTask = 2e10;
// Some 50 microseconds: waking other threads for less does not pay.
constexpr double kProductsWorthSharing = 1e7;
// int8 is hopeless in so few dimensions: start with int16.
constexpr int64_t kCoarseDims = 8;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

CpuShortlist::CpuShortlist(const Scorer& scorer, const FreeLatents& free, const Kernel& kernel,
                           bool int16_allowed, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      kernel_(kernel),
      int16_allowed_(int16_allowed),
      parallel_(parallel),
      scans_(parallel.threads()) {
  codes_ = std::make_unique<LatentCodes>(scorer, free, coarsest(scorer.latents().dim), parallel);
}

Arithmetic CpuShortlist::coarsest(int64_t dim) {
  return dim <= kCoarseDims ? Arithmetic::int16 : Arithmetic::int8;
}

void CpuShortlist::search(std::span<const Query> queries, int64_t depth, bool guess,
                          std::span<CandidateList> lists) {
  for (CandidateList& list : lists) {
    list.clear();
    list.outside = -kInfinity;
  }
  code_sources(queries);
  ScanSettings settings;
  settings.depth = depth;
  if (guess) {
    settings.guess = guess_;
    settings.caution = caution_;
  }
  scan_all(settings, lists);
  if (guess) {
    learn();
    choose_arithmetic(lists);
  } else if (queries.size() > 1) {  // the last window's sources whose lists were too short
    missed_ = std::ssize(queries);
  }
}

// Fills sources_. Sources of one direction follow each other, so that their tiles skip most cells.
void CpuShortlist::code_sources(std::span<const Query> queries) {
  const int64_t count = std::ssize(queries);
  const int64_t dim = scorer_.latents().dim;
  const auto& cells = codes_->cells();
  const size_t bytes = static_cast<size_t>(codes_->steps()) * 4;
  sources_.assign(queries.size(), {});
  source_codes_.resize(queries.size() * bytes);
  bases_.resize(queries.size() * cells.size());
  // Chunks of some ten microseconds at least.
  const int64_t grain = std::max<int64_t>(8, 32768 / (dim * (std::ssize(cells) + 4)));
  parallel_.run(count, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<double> unit(dim);
    for (int64_t i = begin; i < end; ++i) {
      const size_t at = i;
      const Query& q = queries[at];
      CodedSource& s = sources_[at];
      double* base = &bases_[at * cells.size()];
      std::byte* code = &source_codes_[at * bytes];
      s.query = at;
      s.norm = q.source_norm;
      s.floor = q.floor / q.source_norm;
      if (i + kRowsAhead < count) {
        prefetch_row(scorer_.sources(), queries[at + kRowsAhead].source_row);
      }
      unit_row(scorer_.sources(), q.source_row, q.source_norm, unit.data());
      for (size_t c = 0; c < cells.size(); ++c) {
        base[c] = product(unit.data(), cells[c].centre.data(), dim);
        if (base[c] > s.level) {
          s.level = base[c];
          s.nearest = static_cast<int32_t>(c);
        }
      }
      s.code =
          encode_source(unit.data(), dim, codes_->arithmetic(), kernel_.source_limit_int8, code);
      s.base = base;
      s.bytes = code;
    }
  });
  if (cells.size() > 1) {
    std::stable_sort(
        sources_.begin(), sources_.end(),
        [](const CodedSource& a, const CodedSource& b) { return a.nearest < b.nearest; });
  }
}

void CpuShortlist::scan_all(const ScanSettings& settings, std::span<CandidateList> lists) {
  // Tasks: groups of whole tiles, times parts of the panels where groups are few or scans long.
  const ScanKernel& kernel = scan_kernel();
  const int64_t count = std::ssize(sources_);
  const int64_t threads = parallel_.threads();
  const int64_t live = codes_->live();
  const int64_t tiles = ceil_div(count, kernel.tile_sources);
  const int64_t most_tiles = Scan::most_sources(int64_t{4} * codes_->steps()) / kernel.tile_sources;
  int64_t groups = std::max(ceil_div(tiles, most_tiles), kGroupsPerThread * threads);
  groups = std::min(tiles, ceil_div(groups, threads) * threads);
  const double products = static_cast<double>(live) * static_cast<double>(scorer_.latents().dim) *
                          static_cast<double>(ceil_div(tiles, groups) * kernel.tile_sources);
  int64_t parts = static_cast<int64_t>(products / kProductsPerTask) + 1;
  if (groups < threads && products > kProductsWorthSharing) {
    parts = std::max(parts, ceil_div(2 * threads, groups));
  }
  parts = std::clamp<int64_t>(parts, 1, std::max<int64_t>(1, live / (4 * kPanelLatents)));

  scanned_.assign(sources_.size(), {});
  reached_.assign(sources_.size(), -kInfinity);
  std::vector<std::mutex> locks(parts > 1 ? groups : 0);
  parallel_.run(groups * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t group = t / parts;
      const size_t first = tiles * group / groups * kernel.tile_sources;
      const size_t last = std::min(count, tiles * (group + 1) / groups * kernel.tile_sources);
      Scan& scan = scans_[thread];
      scan.run(*codes_, kernel, settings, std::span(sources_).subspan(first, last - first),
               t % parts, parts);
      std::unique_lock<std::mutex> lock;
      if (parts > 1) lock = std::unique_lock(locks[group]);
      for (size_t i = first; i < last; ++i) {
        const size_t at = sources_[i].query;
        const Scanned one = scan.deliver(i - first, lists[at]);
        scanned_[at].close += one.close;
        scanned_[at].truncated |= one.truncated;
        reached_[at] = std::max(reached_[at], one.threshold - sources_[i].level);
      }
    }
  });
}

// Sets the initial threshold and the caution of the next window from the last one.
void CpuShortlist::learn() {
  const size_t count = reached_.size();
  const auto quantile = [&](double q) {
    const auto at =
        reached_.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(count - 1));
    std::nth_element(reached_.begin(), at, reached_.end());
    return *at;
  };
  // A miss costs a second search, a low guess and caution more entries: a few misses in a hundred
  // are best.
  const double misses = static_cast<double>(missed_) / static_cast<double>(count);
  missed_ = 0;
  guess_quantile_ = std::clamp(guess_quantile_ * (misses > 0.01 ? 0.6 : 1.15), 0.001, 0.1);
  caution_ = std::clamp(caution_ + (misses > 0.01 ? 0.25 : -0.02), 0.0, 1.0);
  const double low = quantile(guess_quantile_);
  if (misses > 0.2) {  // the latents changed faster than guesses follow: begin anew
    guess_ = -kInfinity;
  } else if (low > guess_) {
    guess_ = low;
  } else if (guess_ > -kInfinity) {  // too many found fewer than `depth` latents above the guess
    guess_ -= 0.25 * (quantile(0.75) - guess_) + 1e-9;
  }
}

void CpuShortlist::choose_arithmetic(std::span<const CandidateList> lists) {
  if (codes_->arithmetic() == Arithmetic::int16 || !int16_allowed_) return;
  const double dim = static_cast<double>(scorer_.latents().dim);
  const double live = static_cast<double>(codes_->live());
  double listed = 0.0, close = 0.0, truncated = 0.0;
  for (const CandidateList& list : lists) listed += static_cast<double>(list.items.size());
  for (const Scanned& s : scanned_) {
    close += static_cast<double>(s.close);
    truncated += s.truncated;
  }
  // In processor cycles, roughly: an entry costs a pruning, one that may be the best an exact
  // score, a truncated list a full scan; int16 takes twice the time of int8's 64 products a cycle.
  const double coarse = listed * 40.0 + close * (300.0 + dim) + truncated * live * dim / 2.0;
  const double finer = static_cast<double>(lists.size()) * live * dim / 64.0;
  if (coarse > 1.5 * finer) {
    codes_.reset();
    codes_ = std::make_unique<LatentCodes>(scorer_, free_, Arithmetic::int16, parallel_);
  }
}

void CpuShortlist::remove(std::span<const LatentId> ids) {
  codes_->remove(ids, parallel_);
}

void CpuShortlist::describe(Stats& stats) const {
  stats.arithmetic = codes_->arithmetic() == Arithmetic::int8 ? "int8" : "int16";
  stats.work_bytes += codes_->bytes();
}

}  // namespace gtn
