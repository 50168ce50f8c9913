#include "core/line_scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace gtn {
namespace {

// Latents of the score that a list ends with, beyond what was asked for.
constexpr size_t kSpare = 4;
// With more free latents a word, all 64 are scored at once.
constexpr int kDense = 24;

double value(const Rows& rows, int64_t row) {
  double v;
  widen_row(rows, row, &v);
  return v;
}

}  // namespace

LineScan::LineScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer), free_(free), parallel_(parallel) {
  const DistinctLatents& distinct = free.distinct();
  position_.resize(distinct.count());
  for (LatentId id = 0; id < distinct.count(); ++id) {
    Side& side = sides_[side_of(id)];
    position_[id] = static_cast<int32_t>(side.ids.size());
    side.ids.push_back(id);
    side.norms.push_back(distinct.norm(id));
  }
  for (Side& side : sides_) {
    if (side.ids.size() > 1 && side.norms.front() > side.norms.back()) ascending_ = false;
  }
  for (Side& side : sides_) {
    make_octaves(side);
    side.free = FreeBits(std::ssize(side.ids));
    for (size_t at = 0; at < side.ids.size(); ++at) {
      if (!free.is_free(side.ids[at])) side.free.remove(at);
    }
  }
}

size_t LineScan::side_of(LatentId id) const {
  return value(scorer_.latents(), free_.distinct().row(id)) > 0.0;
}

void LineScan::make_octaves(Side& side) const {
  for (size_t at = 0; at < side.norms.size(); ++at) {
    const double top = std::ldexp(1.0, std::ilogb(side.norms[at]) + 1);
    const int64_t position = at;
    if (side.octaves.empty() || side.octaves.back().top != top) {
      side.octaves.push_back({position, position, top});
    }
    side.octaves.back().end = position + 1;
  }
}

// Finds the latents of one side that have a given score, in rank order.
class LineScan::Finder {
 public:
  Finder(const Side& side, bool ascending, double y) : side_(side), ascending_(ascending), y_(y) {}

  // Appends the first `enough` latents of magnitude `score` that may have it; true if there are so
  // many.
  bool find(double score, size_t enough, std::vector<int32_t>& positions) {
    if (score == y_) return find_in(0, side_.free.size(), score, enough, positions);
    const double least = 2.0 / std::ldexp(y_, -std::ilogb(y_)) * (1.0 - 0x1p-50);  // of |x|
    for (const Octave& octave : side_.octaves) {
      if (side_.free.next(octave.begin) >= octave.end) continue;
      const auto begin = side_.norms.begin() + octave.begin;
      const auto end = side_.norms.begin() + octave.end;
      const double from = 0.5 * octave.top * least;
      int64_t first = octave.begin, last = octave.end;
      if (ascending_) {
        first += std::lower_bound(begin, end, from) - begin;
      } else {
        last = first + (std::lower_bound(begin, end, from, std::greater_equal<>()) - begin);
      }
      if (find_in(first, last, score, enough, positions)) return true;
    }
    return false;
  }

 private:
  double score_of(size_t at) const { return score_1d(side_.norms[at], side_.norms[at], y_); }

  bool find_in(int64_t first, int64_t last, double score, size_t enough,
               std::vector<int32_t>& positions) const {
    for (int64_t at = side_.free.next(first); at < last;) {
      const int64_t word = at / 64;
      const int64_t base = word * 64;
      uint64_t bits = side_.free.word(word) & (~uint64_t{0} << (at - base));
      if (last - base < 64) bits &= (uint64_t{1} << (last - base)) - 1;
      if (std::popcount(bits) > kDense) bits &= equal(base, score);
      for (; bits != 0; bits &= bits - 1) {
        const size_t found = base + std::countr_zero(bits);
        if (score_of(found) != score) continue;
        positions.push_back(static_cast<int32_t>(found));
        if (positions.size() == enough) return true;
      }
      at = side_.free.next(base + 64);
    }
    return false;
  }
  // A bit for each of 64 latents that has the score.
  uint64_t equal(size_t base, double score) const {
    double scores[64];
    const size_t count = std::min<size_t>(64, side_.norms.size() - base);
    for (size_t i = 0; i < count; ++i) scores[i] = score_of(base + i);
    uint64_t bits = 0;
    for (size_t i = 0; i < count; ++i) bits |= uint64_t{scores[i] == score} << i;
    return bits;
  }

  const Side& side_;
  bool ascending_;
  double y_;
};

void LineScan::search(std::span<const Query> queries, int64_t depth, bool,
                      std::span<CandidateList> lists) {
  const size_t enough = static_cast<size_t>(depth) + kSpare;
  parallel_.run(std::ssize(queries), 32, [&](int64_t begin, int64_t end, int) {
    std::vector<int32_t> found;
    for (int64_t q = begin; q < end; ++q) {
      const double y = queries[q].source_norm;
      const bool positive = value(scorer_.sources(), queries[q].source_row) > 0.0;
      CandidateList& list = lists[q];
      list.clear();
      list.outside = -kInfinity;
      // Magnitudes from the best score to the worst: the larger the better on the source's side.
      const double above = std::nextafter(y, kInfinity), below = std::nextafter(y, 0.0);
      const double magnitudes[2][3] = {{above, y, below}, {below, y, above}};
      bool full = false;
      for (size_t opposite = 0; opposite < 2 && !full; ++opposite) {
        const Side& side = sides_[opposite ? !positive : positive];
        Finder finder(side, ascending_, y);
        for (size_t tier = 0; tier < 3 && !full; ++tier) {
          const double magnitude = magnitudes[opposite][tier];
          const double score = opposite ? -magnitude : magnitude;
          found.clear();
          full = finder.find(magnitude, enough, found);
          for (const int32_t at : found) {
            list.items.push_back({side.ids[at], score, score});
          }
          if (!full) continue;
          // Not listed: lower scores, and this one at higher ranks.
          list.outside = score;
          list.outside_rank = free_.rank(side.ids[found.back()]);
        }
      }
    }
  });
}

void LineScan::remove(std::span<const LatentId> ids) {
  for (const LatentId id : ids) {
    sides_[side_of(id)].free.remove(position_[id]);
  }
}

}  // namespace gtn
