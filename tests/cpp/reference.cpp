#include "reference.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

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

namespace {

// The contract's column mean is subtracted from rows widened to float64.
Data centred(const Data& d) {
  Data out = d;
  out.f64.assign(static_cast<size_t>(d.n * d.dim), 0.0);
  for (int64_t k = 0; k < d.dim; ++k) {
    double total = 0.0;
    for (int64_t block = 0; block < d.n; block += 1024) {
      double sum = 0.0;
      for (int64_t i = block; i < std::min(d.n, block + 1024); ++i) sum += d.at(i, k);
      total += sum;
    }
    const double mean = total / static_cast<double>(d.n);
    for (int64_t i = 0; i < d.n; ++i) {
      out.f64[static_cast<size_t>(i * d.dim + k)] = d.at(i, k) - mean;
    }
  }
  return out;
}

std::vector<double> norms(const Data& d) {
  std::vector<double> norm;
  for (int64_t i = 0; i < d.n; ++i) norm.push_back(std::sqrt(dot(d, i, d, i)));
  return norm;
}

// The rows with this label, in order of their norms.
std::vector<int64_t> ordered(const std::vector<int64_t>& labels, int64_t label,
                             const std::vector<double>& norm, bool by_norm, bool descending) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < norm.size(); ++i) {
    if (labels.empty() || labels[i] == label) rows.push_back(static_cast<int64_t>(i));
  }
  if (!by_norm) return rows;
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
    const double na = norm[static_cast<size_t>(a)], nb = norm[static_cast<size_t>(b)];
    return descending ? na > nb : na < nb;
  });
  return rows;
}

}  // namespace

Outcome match(const Data& latents, const Data& sources, const Rules& rules) {
  const Data x = rules.center ? centred(latents) : latents;
  const std::vector<double> norm = norms(x), source_norm = norms(sources);
  const bool descending = rules.order == gtn::Order::norm_desc;
  std::set<int64_t> labels(rules.source_groups.begin(), rules.source_groups.end());
  if (labels.empty()) labels.insert(0);
  Outcome outcome;
  outcome.assignment.resize(static_cast<size_t>(sources.n));
  outcome.cosine.resize(static_cast<size_t>(sources.n));
  for (const int64_t label : labels) {
    std::vector<int64_t> free = ordered(rules.latent_groups, label, norm, true, descending);
    for (const int64_t y : ordered(rules.source_groups, label, source_norm,
                                   rules.order != gtn::Order::index, descending)) {
      std::vector<std::pair<double, size_t>> best;  // minus the score, place in rank order
      for (const int64_t row : free) {
        const double score = dot(x, row, sources, y) / norm[static_cast<size_t>(row)];
        best.emplace_back(-score, best.size());
      }
      const size_t k = std::min(best.size(), static_cast<size_t>(rules.cone));
      std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k), best.end());
      auto chosen = best[0];
      for (size_t i = 1; i < k; ++i) chosen = best[i].second < chosen.second ? best[i] : chosen;
      const int64_t row = free[chosen.second];
      outcome.assignment[static_cast<size_t>(y)] = row;
      outcome.cosine[static_cast<size_t>(y)] = -chosen.first / source_norm[static_cast<size_t>(y)];
      outcome.visited.push_back(row);
      free.erase(free.begin() + static_cast<std::ptrdiff_t>(chosen.second));
    }
  }
  return outcome;
}

}  // namespace reference
