#include "faiss/unit_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "core/unit_vectors.hpp"

namespace gtn {
namespace {

double float32_error(double radius, int64_t dim) {
  const double terms = static_cast<double>(dim + 4) * 0x1p-24;
  return terms < 0.5 ? radius * (1.0 + 0x1p-20) * terms / (1.0 - terms) : kInfinity;
}

}  // namespace

UnitRows::UnitRows(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer),
      dim_(scorer.latents().dim),
      count_(free.ids()),
      rows_(std::make_unique_for_overwrite<float[]>(count_ * dim_)) {
  const DistinctLatents& distinct = free.distinct();
  id_at_.reserve(count_);
  for (LatentId id = 0; id < distinct.count(); ++id) {
    if (free.is_free(id)) id_at_.push_back(id);
  }
  const auto row_at = [&](int64_t position) { return distinct.row(id_at(position)); };
  // Neighbours in rank differ little in norm only, so that ids evenly spread are a fair sample.
  const int64_t stride = std::max<int64_t>(1, (count_ + 8191) / 8192);
  centre_ = mean_direction(
      scorer.latents(), count_ / stride, [&](int64_t i) { return row_at(i * stride); }, parallel);
  double radius = 0.0;
  std::mutex mutex;
  parallel.run(count_, 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim_);
    double largest = 0.0;
    for (int64_t at = begin; at < end; ++at) {
      if (at + kRowsAhead < end) prefetch_row(scorer_.latents(), row_at(at + kRowsAhead));
      unit_row(scorer_.latents(), row_at(at), v.data());
      float* row = &rows_[at * dim_];
      for (size_t k = 0; k < v.size(); ++k) {
        v[k] -= centre_[k];
        row[k] = static_cast<float>(v[k]);
      }
      largest = std::max(largest, product(v.data(), v.data(), dim_));
    }
    const std::lock_guard lock(mutex);
    radius = std::max(radius, std::sqrt(largest));
  });
  error_ = float32_error(radius * (1.0 + 0x1p-22), dim_) + 4.0 * rounding_slack(dim_);
}

void UnitRows::remove(std::span<const LatentId> ids) {
  if (position_of_.empty()) {
    position_of_.assign(static_cast<size_t>(*std::max_element(id_at_.begin(), id_at_.end())) + 1,
                        -1);
    for (size_t at = 0; at < id_at_.size(); ++at) {
      position_of_[id_at_[at]] = static_cast<int32_t>(at);
    }
  }
  const size_t dim = dim_;
  for (const LatentId id : ids) {
    const size_t hole = position_of_[id];
    const size_t last = --count_;
    if (hole == last) continue;
    std::memcpy(&rows_[hole * dim], &rows_[last * dim], dim * sizeof(float));
    id_at_[hole] = id_at_[last];
    position_of_[id_at_[hole]] = static_cast<int32_t>(hole);
  }
}

int64_t UnitRows::bytes_for(int64_t n, int64_t dim) {
  return n * (4 * dim + 8);
}

int64_t UnitRows::bytes() const {
  return (rows_ ? std::ssize(id_at_) * dim_ * 4 : 0) +
         4 * static_cast<int64_t>(id_at_.size() + position_of_.size());
}

void UnitRows::make_queries(std::span<const Query> queries, Parallel& parallel,
                            Queries& out) const {
  const size_t dim = dim_;
  out.vectors.resize(queries.size() * dim);
  out.bases.resize(queries.size());
  parallel.run(std::ssize(queries), 32, [&](int64_t begin, int64_t end, int) {
    std::vector<double> unit(dim);
    for (int64_t i = begin; i < end; ++i) {
      unit_row(scorer_.sources(), queries[i].source_row, queries[i].source_norm, unit.data());
      float* q = &out.vectors[i * dim];
      for (size_t k = 0; k < dim; ++k) q[k] = static_cast<float>(unit[k]);
      out.bases[i] = product(unit.data(), centre_.data(), dim_);
    }
  });
}

}  // namespace gtn
