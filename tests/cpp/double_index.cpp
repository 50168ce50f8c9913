#include "double_index.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

namespace doubles {
namespace {

constexpr double kUnit = 0x1p-24;  // float32 rounds by at most so much, relatively

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

float pairwise(const float* a, const float* b, int64_t dim) {
  if (dim == 1) return a[0] * b[0];
  const int64_t half = dim / 2;
  return pairwise(a, b, half) + pairwise(a + half, b + half, dim - half);
}

}  // namespace

float inner_product(const float* a, const float* b, int64_t dim, int order) {
  if (order == 0) return pairwise(a, b, dim);
  if (order == 1) {  // eight lanes, as vector units add
    float lanes[8] = {};
    for (int64_t k = 0; k < dim; ++k) lanes[k % 8] += a[k] * b[k];
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
           ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
  }
  float sum = 0.0f;
  for (int64_t k = 0; k < dim; ++k) {
    const int64_t at = order == 2 ? k : dim - 1 - k;
    sum = order == 4 ? std::fma(a[at], b[at], sum) : sum + a[at] * b[at];
  }
  return sum;
}

DoubleIndex::Scored DoubleIndex::score(const float* query, const float* row, int64_t dim,
                                       uint64_t lot) const {
  if (!habits_.cruel) {
    const float s = inner_product(query, row, dim, static_cast<int>(lot % kOrders));
    return {static_cast<double>(s), s, lot, 0};
  }
  double exact = 0.0, query2 = 0.0, row2 = 0.0;
  for (int64_t k = 0; k < dim; ++k) {
    const double q = query[k], r = row[k];
    exact += q * r;
    query2 += q * q;
    row2 += r * r;
  }
  // Any order of dim products and additions errs by at most dim u / (1 - dim u) |q| |r|; the
  // result is itself rounded to float32, which here is part of that.
  const double terms = static_cast<double>(dim) * kUnit;
  const double most = terms / (1.0 - terms) * std::sqrt(query2 * row2);
  const double error = std::max(0.0, most - 1.01 * kUnit * std::fabs(exact));
  const double compared = exact + (lot & 1 ? error : -error);
  return {compared, static_cast<float>(exact - (lot & 2 ? error : 0.5 * error)), lot, 0};
}

void DoubleIndex::load(const gtn::FloatRows& rows) {
  if (habits_.reads_rows) throw std::logic_error("an index that reads rows was loaded");
  copy_.assign(rows.data, rows.data + rows.count * rows.dim);
  copied_ = {copy_.data(), rows.count, rows.dim};
  ++loads_;
}

void DoubleIndex::search(const gtn::FloatRows& rows, const gtn::FloatRows& queries, int64_t k,
                         std::span<float> scores, std::span<int64_t> positions) {
  if (inside_.fetch_add(1) > 0 && !habits_.concurrent) {
    throw std::logic_error("two searches at once");
  }
  const gtn::FloatRows& in = habits_.reads_rows ? rows : copied_;
  const auto size = static_cast<size_t>(queries.count * k);
  if (k < 1 || k > habits_.most_k || k > in.count || in.dim != queries.dim ||
      in.count != rows.count || scores.size() != size || positions.size() != size) {
    throw std::logic_error("a search with wrong arguments");
  }
  std::vector<Scored> found(static_cast<size_t>(in.count));
  for (int64_t i = 0; i < queries.count; ++i) {
    const float* query = queries.data + i * in.dim;
    // Depends on the batch, not on which thread comes first, so that tests repeat themselves.
    const uint64_t batch = static_cast<uint64_t>(in.count * 8191 + queries.count) << 32;
    const uint64_t seed = mix(batch ^ std::bit_cast<uint32_t>(query[0]));
    for (int64_t j = 0; j < in.count; ++j) {
      Scored& s = found[static_cast<size_t>(j)];
      s = score(query, in.data + j * in.dim, in.dim, mix(seed + static_cast<uint64_t>(j)));
      s.position = j;
    }
    const auto end = found.begin() + static_cast<std::ptrdiff_t>(k);
    std::partial_sort(found.begin(), end, found.end(), [](const Scored& a, const Scored& b) {
      return a.compared != b.compared ? a.compared > b.compared : a.lot < b.lot;
    });
    std::sort(found.begin(), end, [](const Scored& a, const Scored& b) { return a.lot < b.lot; });
    for (int64_t j = 0; j < k; ++j) {
      scores[static_cast<size_t>(i * k + j)] = found[static_cast<size_t>(j)].returned;
      positions[static_cast<size_t>(i * k + j)] = found[static_cast<size_t>(j)].position;
    }
  }
  inside_.fetch_sub(1);
}

}  // namespace doubles
