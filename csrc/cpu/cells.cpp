// Implements cells.hpp: k-means++ seeding on a sample (Arthur and Vassilvitskii 2007), without the
// Lloyd iterations, which change little for tight clusters.
#include "cpu/cells.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <random>

namespace gtn {
namespace {

constexpr int64_t kSample = 4096;
constexpr double kWorthwhile = 0.5;  // share of the variance that cells must leave at most
constexpr double kStray = 9.0;       // squared distance, in mean squared distances of the cell

class Seeding {
 public:
  Seeding(const Scorer& scorer, const DistinctLatents& distinct, const std::vector<int32_t>& ids,
          Parallel& parallel)
      : scorer_(scorer),
        distinct_(distinct),
        ids_(ids),
        parallel_(parallel),
        dim_(static_cast<size_t>(scorer.latents().dim)) {}

  // Finds centres; false if the latents are not worth splitting.
  bool find();
  std::vector<std::vector<int32_t>> assign() const;

 private:
  void unit_row(int32_t id, std::vector<double>& wide, float* out) const {
    widen_row(scorer_.latents(), distinct_.row(id), wide.data());
    const double norm = distinct_.norm(id);
    for (size_t k = 0; k < dim_; ++k) out[k] = static_cast<float>(wide[k] / norm - middle_[k]);
  }
  float squared_distance(const float* a, const float* b) const {
    float s[8] = {};
    size_t k = 0;
    for (; k + 8 <= dim_; k += 8) {
      for (size_t j = 0; j < 8; ++j) s[j] += (a[k + j] - b[k + j]) * (a[k + j] - b[k + j]);
    }
    for (; k < dim_; ++k) s[0] += (a[k] - b[k]) * (a[k] - b[k]);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
  }
  size_t nearest(const float* v, float& distance) const;

  const Scorer& scorer_;
  const DistinctLatents& distinct_;
  const std::vector<int32_t>& ids_;
  Parallel& parallel_;
  size_t dim_;
  std::vector<double> middle_;  // subtracted before the differences are taken in float32
  std::vector<float> centres_;  // [cells, dim]
  size_t count_ = 0;
};

bool Seeding::find() {
  const int64_t n = static_cast<int64_t>(ids_.size());
  const size_t sample = static_cast<size_t>(std::min(kSample, n / 8));
  const auto most = static_cast<size_t>(std::clamp<int64_t>(n / 256, 4, kMostCells - 1));
  std::vector<double> wide(dim_);
  std::vector<double> sum(dim_, 0.0);
  middle_.assign(dim_, 0.0);
  std::vector<float> rows(sample * dim_);
  for (size_t i = 0; i < sample; ++i) {
    widen_row(scorer_.latents(), distinct_.row(ids_[i]), wide.data());
    const double norm = distinct_.norm(ids_[i]);
    for (size_t k = 0; k < dim_; ++k) sum[k] += wide[k] / norm;
  }
  for (size_t k = 0; k < dim_; ++k) middle_[k] = sum[k] / static_cast<double>(sample);
  double whole = 0.0;
  std::vector<float> distance(sample);
  const std::vector<float> origin(dim_, 0.0f);
  for (size_t i = 0; i < sample; ++i) {
    unit_row(ids_[i], wide, &rows[i * dim_]);
    distance[i] = squared_distance(&rows[i * dim_], origin.data());
    whole += static_cast<double>(distance[i]);
  }
  if (!(whole > 0.0)) return false;

  // Every run makes the same cells. The engine's numbers are the same everywhere, std distributions
  // are not, so none is used.
  std::mt19937_64 random(1);  // NOLINT(bugprone-random-generator-seed)
  double left = whole;
  // Nothing to compare the first seeds with: many clusters leave all their variance to a few seeds.
  double left_before = std::numeric_limits<double>::infinity();
  std::fill(distance.begin(), distance.end(), std::numeric_limits<float>::max());
  for (count_ = 0; count_ < most;) {
    size_t pick = static_cast<size_t>(random() % sample);
    if (count_ > 0) {
      const double mark = left * (static_cast<double>(random() >> 11) * 0x1p-53);
      double at = 0.0;
      for (pick = 0; pick + 1 < sample && at + static_cast<double>(distance[pick]) <= mark;
           ++pick) {
        at += static_cast<double>(distance[pick]);
      }
    }
    centres_.insert(centres_.end(), &rows[pick * dim_], &rows[pick * dim_] + dim_);
    ++count_;
    left = 0.0;
    for (size_t i = 0; i < sample; ++i) {
      const float d = squared_distance(&rows[i * dim_], &centres_[(count_ - 1) * dim_]);
      distance[i] = std::min(distance[i], d);
      left += static_cast<double>(distance[i]);
    }
    if (left <= 1e-9 * whole) break;
    if (count_ % 8 == 0) {
      if (left > 0.9 * left_before) break;  // more cells no longer help
      left_before = left;
    }
    parallel_.poll_if_due();
  }
  // A seed is a sample and not a mean, which doubles the variance about it.
  return count_ > 1 && 0.5 * left < kWorthwhile * whole;
}

size_t Seeding::nearest(const float* v, float& distance) const {
  size_t best = 0;
  distance = std::numeric_limits<float>::max();
  for (size_t c = 0; c < count_; ++c) {
    const float d = squared_distance(v, &centres_[c * dim_]);
    if (d < distance) {
      distance = d;
      best = c;
    }
  }
  return best;
}

std::vector<std::vector<int32_t>> Seeding::assign() const {
  std::vector<int32_t> cell(ids_.size());
  std::vector<float> distance(ids_.size());
  std::vector<double> total(count_, 0.0);
  std::vector<int64_t> members(count_, 0);
  std::mutex mutex;
  parallel_.run(static_cast<int64_t>(ids_.size()), 512, [&](int64_t begin, int64_t end, int) {
    std::vector<double> wide(dim_), sums(count_, 0.0);
    std::vector<int64_t> counts(count_, 0);
    std::vector<float> v(dim_);
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      unit_row(ids_[at], wide, v.data());
      const size_t c = nearest(v.data(), distance[at]);
      cell[at] = static_cast<int32_t>(c);
      sums[c] += static_cast<double>(distance[at]);
      ++counts[c];
    }
    std::lock_guard lock(mutex);
    for (size_t c = 0; c < count_; ++c) {
      total[c] += sums[c];
      members[c] += counts[c];
    }
  });
  // A stray would coarsen the codes of its whole cell: strays share one of their own.
  std::vector<std::vector<int32_t>> cells(count_ + 1);
  for (size_t i = 0; i < ids_.size(); ++i) {
    const auto c = static_cast<size_t>(cell[i]);
    const double mean = total[c] / static_cast<double>(members[c]);
    const bool stray = static_cast<double>(distance[i]) > kStray * mean;
    cells[stray ? count_ : c].push_back(ids_[i]);
  }
  std::erase_if(cells, [](const auto& members_of) { return members_of.empty(); });
  return cells;
}

}  // namespace

std::vector<std::vector<int32_t>> choose_cells(const Scorer& scorer,
                                               const DistinctLatents& distinct,
                                               std::vector<int32_t> ids, Parallel& parallel) {
  if (static_cast<int64_t>(ids.size()) >= kFewestToSplit) {
    Seeding seeding(scorer, distinct, ids, parallel);
    if (seeding.find()) return seeding.assign();
  }
  std::vector<std::vector<int32_t>> one;
  one.push_back(std::move(ids));
  return one;
}

}  // namespace gtn
