#include "core/exact_priced_scan.hpp"

#include <algorithm>

namespace gtn {
namespace {

constexpr int64_t kRowsPerPass = 256;

struct Valued {
  int64_t value;  // score - price
  LatentId id;
  int64_t score;
  // The contract's preference: larger value, then lower id.
  bool operator<(const Valued& o) const { return value != o.value ? value > o.value : id < o.id; }
};

}  // namespace

ExactPricedScan::ExactPricedScan(const Scorer& scorer, const ScoreGrid& grid,
                                 const DistinctLatents& distinct, const Prices& prices,
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

}  // namespace gtn
