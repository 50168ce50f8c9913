#include "core/exact_priced_scan.hpp"

#include <algorithm>

namespace gtn {
namespace {

constexpr int64_t kRowsPerPass = 256;

}  // namespace

struct ExactPricedScan::Valued {
  int64_t value;  // score - price
  LatentId id;
  int64_t score;
  // The contract's preference: larger value, then lower id.
  bool operator<(const Valued& o) const { return value != o.value ? value > o.value : id < o.id; }
};

ExactPricedScan::ExactPricedScan(const Scorer& scorer, const ScoreGrid& grid,
                                 const DistinctLatents& distinct, PriceView prices,
                                 Parallel& parallel)
    : scorer_(scorer), grid_(grid), distinct_(distinct), prices_(prices), parallel_(parallel) {}

void ExactPricedScan::search(std::span<const SourceRow> sources, std::span<const int64_t>,
                             int64_t depth, std::span<PricedList> lists) {
  parallel_.run(std::ssize(sources), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) list(sources[i], depth, lists[i]);
  });
}

void ExactPricedScan::list(SourceRow source, int64_t depth, PricedList& out) const {
  const int64_t count = distinct_.count();
  const size_t keep = std::min(depth, count);
  std::vector<Valued> best;
  const void* rows[kRowsPerPass];
  double dots[kRowsPerPass];
  int64_t least = INT64_MIN;
  const auto prune = [&] {
    std::nth_element(best.begin(), best.begin() + (keep - 1), best.end());
    best.resize(keep);
    least = best.back().value;
  };
  for (int64_t from = 0; from < count; from += kRowsPerPass) {
    const int64_t size = std::min(kRowsPerPass, count - from);
    for (int64_t i = 0; i < size; ++i) {
      rows[i] = scorer_.latent(distinct_.row(static_cast<LatentId>(from + i)));
    }
    scorer_.dots(rows, size, source, dots);
    for (int64_t i = 0; i < size; ++i) {
      const auto id = static_cast<LatentId>(from + i);
      const int64_t score = grid_.of(dots[i]);
      const int64_t value = score - prices_.of(id);
      if (value >= least) best.push_back({value, id, score});
    }
    if (best.size() >= 4 * keep) prune();
  }
  if (best.size() > keep) prune();
  std::sort(best.begin(), best.end());
  out.clear();
  for (const Valued& v : best) out.items.push_back({v.id, v.score, true});
  if (std::ssize(best) < count) {
    out.outside = best.back().value;
    out.outside_id = best.back().id;
  }
}

void ExactPricedScan::sharpen(std::span<const SourceRow> sources, int64_t depth,
                              std::span<PricedList> lists) {
  parallel_.run(std::ssize(sources), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) sharpen_one(sources[i], depth, lists[i]);
  });
}

void ExactPricedScan::sharpen_one(SourceRow source, int64_t depth, PricedList& list) const {
  std::vector<const void*> rows;
  for (const PricedCandidate& c : list.items) {
    if (!c.exact) rows.push_back(scorer_.latent(distinct_.row(c.id)));
  }
  std::vector<double> dots(rows.size());
  scorer_.dots(rows.data(), std::ssize(rows), source, dots.data());
  std::vector<Valued> found;
  auto dot = dots.begin();
  for (const PricedCandidate& c : list.items) {
    const int64_t score = c.exact ? c.score : grid_.of(*dot++);
    found.push_back({score - prices_.of(c.id), c.id, score});
  }
  std::sort(found.begin(), found.end());
  if (std::ssize(found) > depth) {
    found.resize(depth);
    // Those that are cut come after the last one that is kept.
    if (found.back().value > list.outside) {
      list.outside = found.back().value;
      list.outside_id = found.back().id;
    } else if (found.back().value == list.outside) {
      list.outside_id = -1;
    }
  }
  list.items.clear();
  for (const Valued& v : found) list.items.push_back({v.id, v.score, true});
}

}  // namespace gtn
