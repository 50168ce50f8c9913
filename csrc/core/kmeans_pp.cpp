#include "core/kmeans_pp.hpp"

#include <algorithm>
#include <limits>
#include <random>

namespace gtn {
namespace {

constexpr double kWorthwhile = 0.5;  // share of the variance that cells must leave at most

}  // namespace

float squared_distance(const float* a, const float* b, int64_t dim) {
  float s[8] = {};
  int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    for (int64_t j = 0; j < 8; ++j) s[j] += (a[k + j] - b[k + j]) * (a[k + j] - b[k + j]);
  }
  for (; k < dim; ++k) s[0] += (a[k] - b[k]) * (a[k] - b[k]);
  return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

std::vector<float> kmeans_pp_seeds(const std::vector<float>& rows, int64_t dim, int64_t latents,
                                   Parallel& parallel) {
  const size_t width = dim;
  const size_t sample = rows.size() / width;
  const size_t most = most_seeds(latents);
  double whole = 0.0;
  std::vector<float> distance(sample);
  const std::vector<float> origin(width, 0.0f);
  for (size_t i = 0; i < sample; ++i) {
    whole += static_cast<double>(squared_distance(&rows[i * width], origin.data(), dim));
  }
  std::vector<float> seeds;
  if (!(whole > 0.0)) return seeds;

  // Every run makes the same cells. The engine's numbers are the same everywhere, std distributions
  // are not, so none is used.
  std::mt19937_64 random(1);  // NOLINT(bugprone-random-generator-seed)
  double left = whole;
  // Nothing to compare the first seeds with: many clusters leave all their variance to a few seeds.
  double left_before = std::numeric_limits<double>::infinity();
  std::fill(distance.begin(), distance.end(), std::numeric_limits<float>::max());
  size_t count = 0;
  while (count < most) {
    size_t pick = random() % sample;
    if (count > 0) {
      const double mark = left * (static_cast<double>(random() >> 11) * 0x1p-53);
      double at = 0.0;
      for (pick = 0; pick + 1 < sample && at + static_cast<double>(distance[pick]) <= mark;
           ++pick) {
        at += static_cast<double>(distance[pick]);
      }
    }
    seeds.insert(seeds.end(), &rows[pick * width], &rows[pick * width] + width);
    ++count;
    left = 0.0;
    for (size_t i = 0; i < sample; ++i) {
      const float d = squared_distance(&rows[i * width], &seeds[(count - 1) * width], dim);
      distance[i] = std::min(distance[i], d);
      left += static_cast<double>(distance[i]);
    }
    if (left <= 1e-9 * whole) break;
    if (count % 8 == 0) {
      if (left > 0.9 * left_before) break;  // more cells no longer help
      left_before = left;
    }
    parallel.poll_if_due();
  }
  // A seed is a sample and not a mean, which doubles the variance about it.
  if (count < 2 || 0.5 * left >= kWorthwhile * whole) seeds.clear();
  return seeds;
}

}  // namespace gtn
