// Seeds come from a sample (core/kmeans_pp.hpp); a latent belongs to the nearest seed.
#include "cpu/cells.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

namespace gtn {
namespace {

class Seeding {
 public:
  Seeding(const Scorer& scorer, const DistinctLatents& distinct, const std::vector<LatentId>& ids,
          Parallel& parallel)
      : scorer_(scorer),
        distinct_(distinct),
        ids_(ids),
        parallel_(parallel),
        dim_(scorer.latents().dim) {}

  // Finds centres; false if the latents are not worth splitting.
  bool find();
  std::vector<std::vector<int32_t>> assign() const;

 private:
  double length(LatentId id) const {
    const double all = scorer_.latents().length;
    return all > 0.0 ? all : distinct_.norm(id);
  }
  void unit_row(LatentId id, std::vector<double>& wide, float* out) const {
    widen_row(scorer_.latents(), distinct_.row(id), wide.data());
    const double norm = length(id);
    for (size_t k = 0; k < dim_; ++k) out[k] = static_cast<float>(wide[k] / norm - middle_[k]);
  }
  size_t nearest(const float* v, float& distance) const;

  const Scorer& scorer_;
  const DistinctLatents& distinct_;
  const std::vector<LatentId>& ids_;
  Parallel& parallel_;
  size_t dim_;
  std::vector<double> middle_;  // subtracted before the differences are taken in float32
  std::vector<float> centres_;  // [cells, dim]
  size_t count_ = 0;
};

bool Seeding::find() {
  const int64_t n = std::ssize(ids_);
  const size_t sample = std::min(kSeedSample, n / 8);
  std::vector<double> wide(dim_);
  std::vector<double> sum(dim_, 0.0);
  middle_.assign(dim_, 0.0);
  std::vector<float> rows(sample * dim_);
  for (size_t i = 0; i < sample; ++i) {
    widen_row(scorer_.latents(), distinct_.row(ids_[i]), wide.data());
    const double norm = length(ids_[i]);
    for (size_t k = 0; k < dim_; ++k) sum[k] += wide[k] / norm;
  }
  for (size_t k = 0; k < dim_; ++k) middle_[k] = sum[k] / static_cast<double>(sample);
  for (size_t i = 0; i < sample; ++i) unit_row(ids_[i], wide, &rows[i * dim_]);
  centres_ = kmeans_pp_seeds(rows, scorer_.latents().dim, n, parallel_);
  count_ = centres_.size() / dim_;
  return count_ > 0;
}

size_t Seeding::nearest(const float* v, float& distance) const {
  size_t best = 0;
  distance = std::numeric_limits<float>::max();
  for (size_t c = 0; c < count_; ++c) {
    const float d = squared_distance(v, &centres_[c * dim_], scorer_.latents().dim);
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
  parallel_.run(std::ssize(ids_), 512, [&](int64_t begin, int64_t end, int) {
    std::vector<double> wide(dim_), sums(count_, 0.0);
    std::vector<int64_t> counts(count_, 0);
    std::vector<float> v(dim_);
    for (int64_t i = begin; i < end; ++i) {
      const size_t at = i;
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
    const size_t c = cell[i];
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
                                               std::vector<LatentId> ids, Parallel& parallel) {
  if (std::ssize(ids) >= kFewestToSplit) {
    Seeding seeding(scorer, distinct, ids, parallel);
    if (seeding.find()) return seeding.assign();
  }
  std::vector<std::vector<int32_t>> one;
  one.push_back(std::move(ids));
  return one;
}

}  // namespace gtn
