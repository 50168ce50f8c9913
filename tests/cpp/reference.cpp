// Implements reference.hpp.
#include "reference.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace reference {

std::vector<int32_t> all_rows(int64_t n) {
  std::vector<int32_t> rows(static_cast<size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

gtn::Rows Data::rows(const char* name) const {
  gtn::Rows r;
  r.name = name;
  r.count = n;
  r.dim = dim;
  r.dtype = f64.empty() ? gtn::DType::f32 : gtn::DType::f64;
  r.data = f64.empty() ? static_cast<const void*>(f32.data()) : f64.data();
  return r;
}

double Data::at(int64_t row, int64_t k) const {
  const auto i = static_cast<size_t>(row * dim + k);
  return f64.empty() ? static_cast<double>(f32[i]) : f64[i];
}

Data make(Kind kind, int64_t n, int64_t dim, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Data d;
  d.n = n;
  d.dim = dim;
  std::vector<double> centres(static_cast<size_t>(8 * dim));
  for (double& c : centres) c = 3.0 * normal(random);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t cluster = static_cast<int64_t>(random() % 8);
    for (int64_t k = 0; k < dim; ++k) {
      const double centre = centres[static_cast<size_t>(cluster * dim + k)];
      double v = normal(random);
      if (kind == Kind::off_centre) v += 5.0;
      if (kind == Kind::clusters) v = centre + 0.1 * v;
      if (kind == Kind::tight_clusters) v = centre + 1e-4 * v;
      if (kind == Kind::lattice) v = std::round(v) + (k == 0 ? 9.0 : 0.0);
      if (kind == Kind::repeated && i > n / 20) {
        v = static_cast<double>(d.f32[static_cast<size_t>((i % (n / 20 + 1)) * dim + k)]);
      }
      if (kind == Kind::heavy) v /= std::pow(std::fabs(normal(random)) + 1e-3, 1.5);
      d.f32.push_back(static_cast<float>(v));
      if (kind == Kind::wide) d.f64.push_back(v);
    }
  }
  return d;
}

double dot(const Data& a, int64_t i, const Data& b, int64_t j) {
  double s[8] = {};
  for (int64_t k = 0; k < a.dim; ++k) {
    const double product = a.at(i, k) * b.at(j, k);
    s[k % 8] += product;
  }
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

std::vector<int64_t> match(const Data& latents, const Data& sources, int64_t cone) {
  const auto norms = [](const Data& d) {
    std::vector<double> norm;
    for (int64_t i = 0; i < d.n; ++i) norm.push_back(std::sqrt(dot(d, i, d, i)));
    return norm;
  };
  const auto order = [](const std::vector<double>& norm) {
    std::vector<size_t> rows(norm.size());
    std::iota(rows.begin(), rows.end(), size_t{0});
    std::stable_sort(rows.begin(), rows.end(),
                     [&](size_t a, size_t b) { return norm[a] < norm[b]; });
    return rows;
  };
  const std::vector<double> norm = norms(latents);
  std::vector<size_t> free = order(norm);  // in rank order
  std::vector<int64_t> assignment(static_cast<size_t>(sources.n));
  for (const size_t y : order(norms(sources))) {
    std::vector<std::pair<double, size_t>> best;  // minus the score, place in rank order
    for (const size_t x : free) {
      const double product =
          dot(latents, static_cast<int64_t>(x), sources, static_cast<int64_t>(y));
      best.emplace_back(-product / norm[x], best.size());
    }
    const size_t k = std::min(best.size(), static_cast<size_t>(cone));
    std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k), best.end());
    size_t chosen = best[0].second;
    for (size_t i = 1; i < k; ++i) chosen = std::min(chosen, best[i].second);
    assignment[y] = static_cast<int64_t>(free[chosen]);
    free.erase(free.begin() + static_cast<std::ptrdiff_t>(chosen));
  }
  return assignment;
}

}  // namespace reference
