// Loops run over lanes of fixed number, so that compilers vectorise them for any baseline without
// being allowed to reorder additions.
#include "core/unit_vectors.hpp"

#include <algorithm>
#include <cmath>

namespace gtn {
namespace {

constexpr int64_t kLanes = 8;

void scale(double* v, double factor, int64_t dim) {
  for (int64_t k = 0; k < dim; ++k) v[k] *= factor;
}

}  // namespace

double product(const double* a, const double* b, int64_t dim) {
  double s[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= dim; k += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) s[j] += a[k + j] * b[k + j];
  }
  for (int64_t j = 0; k < dim; ++k, ++j) s[j] += a[k] * b[k];
  return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

void prefetch_row(const Rows& rows, int64_t row) {
  const int64_t bytes = rows.dim * (rows.dtype == DType::f32 ? 4 : 8);
  const char* p = static_cast<const char*>(rows.data) + row * bytes;
  // The hardware follows once the first lines of a row are asked for.
  for (int64_t at = 0; at < bytes && at < 1024; at += 64) __builtin_prefetch(p + at);
}

void unit_row(const Rows& rows, int64_t row, double norm, double* unit) {
  widen_row(rows, row, unit);
  scale(unit, 1.0 / norm, rows.dim);
}

void unit_row(const Rows& rows, int64_t row, double* unit) {
  widen_row(rows, row, unit);
  const double length = rows.length > 0.0 ? rows.length : std::sqrt(product(unit, unit, rows.dim));
  scale(unit, 1.0 / length, rows.dim);
}

std::vector<double> mean_direction(const Rows& rows, int64_t count,
                                   FunctionRef<int64_t(int64_t)> row_at, Parallel& parallel) {
  constexpr int64_t kSample = 8192;
  constexpr int64_t kPart = 512;  // summed apart, so that threads change nothing
  const size_t dim = rows.dim;
  const int64_t sample = std::min(count, kSample);
  std::vector<double> parts((sample + kPart - 1) / kPart * dim, 0.0);
  parallel.run(sample, kPart, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim);
    double* part = &parts[(begin / kPart) * dim];
    for (int64_t i = begin; i < end; ++i) {
      if (i + kRowsAhead < end) prefetch_row(rows, row_at(i + kRowsAhead));
      unit_row(rows, row_at(i), v.data());
      for (size_t k = 0; k < dim; ++k) part[k] += v[k];
    }
  });
  std::vector<double> mean(dim, 0.0);
  for (size_t at = 0; at < parts.size(); at += dim) {
    for (size_t k = 0; k < dim; ++k) mean[k] += parts[at + k];
  }
  scale(mean.data(), 1.0 / static_cast<double>(std::max<int64_t>(1, sample)), rows.dim);
  return mean;
}

}  // namespace gtn
