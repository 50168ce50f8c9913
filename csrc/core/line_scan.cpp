// Implements line_scan.hpp.
#include "core/line_scan.hpp"

#include <algorithm>
#include <cmath>

namespace gtn {
namespace {

double value(const Rows& rows, int64_t row) {
  double v;
  widen_row(rows, row, &v);
  return v;
}

}  // namespace

LineScan::LineScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer), free_(free), parallel_(parallel) {
  const DistinctLatents& distinct = free.distinct();
  for (int32_t id = 0; id < distinct.count(); ++id) {
    if (!free.is_free(id)) continue;
    Side& side = side_of(id);
    side.ids.push_back(id);
    side.values.push_back(value(scorer.latents(), distinct.row(id)));
    side.norms.push_back(distinct.norm(id));
    ++side.free;
  }
}

LineScan::Side& LineScan::side_of(int32_t id) {
  return sides_[value(scorer_.latents(), free_.distinct().row(id)) > 0.0];
}

void LineScan::search(std::span<const Query> queries, int64_t depth, bool,
                      std::span<CandidateList> lists) {
  const size_t enough = static_cast<size_t>(2 * depth);
  parallel_.run(static_cast<int64_t>(queries.size()), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t q = begin; q < end; ++q) {
      const Query& query = queries[static_cast<size_t>(q)];
      CandidateList& out = lists[static_cast<size_t>(q)];
      const double y = value(scorer_.sources(), query.source_row);
      const double above = std::nextafter(query.source_norm, kInfinity);
      const double below = std::nextafter(query.source_norm, 0.0);
      out.clear();
      out.outside = -kInfinity;
      const size_t same = y > 0.0;
      if (!list(sides_[same], y, above, enough, out)) {
        list(sides_[1 - same], y, -below, enough, out);
      }
    }
  });
}

bool LineScan::list(const Side& side, double y, double largest, size_t enough,
                    CandidateList& out) const {
  // Scores take three values; per value the first `enough` latents in rank order are kept.
  constexpr int kTiers = 3;
  double tier[kTiers] = {largest};
  for (int t = 1; t < kTiers; ++t) tier[t] = std::nextafter(tier[t - 1], -kInfinity);
  std::vector<int32_t> found[kTiers];
  int full = kTiers;   // the highest tier that has enough: lower ones no longer matter
  bool lower = false;  // a score below all tiers, which rounding does not produce
  constexpr size_t kBlock = 64;
  double scores[kBlock];
  for (size_t base = 0; base < side.ids.size() && full > 0; base += kBlock) {
    const size_t count = std::min(kBlock, side.ids.size() - base);
    for (size_t i = 0; i < count; ++i) {
      scores[i] = score_1d(side.values[base + i], side.norms[base + i], y);
    }
    const double least = full == kTiers ? -kInfinity : tier[full - 1];
    double top = -kInfinity;  // most blocks have nothing to keep
    for (size_t i = 0; i < count; ++i) top = std::max(top, scores[i]);
    if (top < least) continue;
    for (size_t i = 0; i < count; ++i) {
      if (scores[i] < least || !free_.is_free(side.ids[base + i])) continue;
      lower = lower || scores[i] < tier[kTiers - 1];
      for (int t = 0; t < full; ++t) {
        if (scores[i] != tier[t] || found[t].size() == enough) continue;
        found[t].push_back(side.ids[base + i]);
        if (found[t].size() == enough) full = t;
      }
    }
  }
  for (int t = 0; t < kTiers; ++t) {
    for (const int32_t id : found[t]) out.items.push_back({id, tier[t], tier[t]});
    if (found[t].size() == enough) {
      out.outside = tier[t];
      out.outside_rank = free_.distinct().member(found[t].back(), 0);
      return true;
    }
  }
  if (lower) out.outside = std::nextafter(tier[kTiers - 1], -kInfinity);
  return lower;
}

void LineScan::remove(std::span<const int32_t> ids) {
  for (const int32_t id : ids) --side_of(id).free;
  for (Side& side : sides_) {
    if (static_cast<int64_t>(side.ids.size()) <= side.free + side.free / 4 + 64) continue;
    size_t kept = 0;
    for (size_t i = 0; i < side.ids.size(); ++i) {
      if (!free_.is_free(side.ids[i])) continue;
      side.ids[kept] = side.ids[i];
      side.values[kept] = side.values[i];
      side.norms[kept] = side.norms[i];
      ++kept;
    }
    side.ids.resize(kept);
    side.values.resize(kept);
    side.norms.resize(kept);
  }
}

}  // namespace gtn
