#include "core/transport_group.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/equal_rows.hpp"
#include "core/exact_sum.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"

namespace gtn {
namespace {

// Part of the scale that the cost is until more is known. Part of the contract.
constexpr double kLikelyCost = 0.75;

// The first epsilon, at most, on the grid. A latent that a source holds costs at most the range of
// scores plus epsilon more than any other, or the source would rather have that one. So a phase
// raises the largest price by at most 2^54 + epsilon above the least (spares: 2^53 more, the range
// of first prices), and the phases of all epsilons from here to 1 stay below kLargestPrice. Only
// where sources lie far from the mean of all groups, or of all rows but a sample, is the spread
// beyond this: a phase with a larger epsilon would tell nothing. Part of the contract.
constexpr int kEpsilonBits = ScoreGrid::kBits + 2;

// In blocks of 1,024 rows, as the contract's column mean.
template <class ValueAt>
double block_sum(int64_t count, ValueAt value_at) {
  constexpr int64_t kBlock = 1024;
  double total = 0.0;
  for (int64_t from = 0; from < count; from += kBlock) {
    double part = 0.0;
    for (int64_t i = from; i < std::min(from + kBlock, count); ++i) part += value_at(i);
    total += part;
  }
  return total;
}

Rows less_mean(Rows rows, const std::vector<double>& mean) {
  rows.mean = mean.data();
  return rows;
}

Rows with_length(Rows rows, double length) {
  rows.length = length;
  return rows;
}

std::vector<double> roots(std::vector<double> squares) {
  for (double& s : squares) s = std::sqrt(s);
  return squares;
}

bool leftovers(const GroupRows& group) {
  return group.sources.size() < group.latents.size();
}

DistinctLatents distinct_of(const TransportRows& rows, const GroupRows& group, const Scorer& scorer,
                            Parallel& parallel) {
  const std::vector<double>& norms = rows.norms;
  std::vector<LatentRow> by_rank = sorted_by_norm(group.latents, norms, false, parallel);
  if (leftovers(group)) return {std::move(by_rank), norms};
  if (rows.share == nullptr) return {scorer, std::move(by_rank), norms, parallel};
  if (rows.classes.empty()) return {std::move(by_rank), norms};
  return {std::move(by_rank), norms, rows.classes};
}

std::unique_ptr<const TransportGroup::Own> own_of(const TransportRows& rows,
                                                  const DistinctLatents& distinct) {
  if (rows.share == nullptr) return nullptr;
  auto own = std::make_unique<TransportGroup::Own>();
  std::vector<LatentRow> by_rank;
  for (LatentId id = 0; id < distinct.count(); ++id) {
    const LatentRow row = distinct.row(id);
    const int32_t here = rows.here(row);
    if (here < 0) continue;
    own->ids.push_back(id);
    by_rank.push_back(here);
  }
  own->distinct = std::make_unique<const DistinctLatents>(std::move(by_rank), rows.norms_here);
  return own;
}

// Where latents are left over, a latent costs half its squared norm. Elsewhere any prices will do,
// and these leave of the scores what they are with centred sources.
std::vector<double> first_costs(const TransportRows& rows, const GroupRows& group,
                                const DistinctLatents& distinct) {
  const bool left = leftovers(group);
  const std::vector<double>& shifts = left ? rows.by_mean : rows.by_source_mean;
  std::vector<double> costs(distinct.count());
  for (LatentId id = 0; id < distinct.count(); ++id) {
    const LatentRow row = distinct.row(id);
    const bool shifted = !left || !rows.center;
    costs[id] = (left ? 0.5 * rows.xx[row] : 0.0) + (shifted ? shifts[row] : 0.0);
  }
  return costs;
}

// What a latent costs before any bid, less its score for the mean source.
std::vector<double> costs_for_mean_source(const TransportRows& rows,
                                          const DistinctLatents& distinct,
                                          const std::vector<double>& firsts) {
  std::vector<double> costs(firsts.size());
  for (LatentId id = 0; id < distinct.count(); ++id) {
    costs[id] = firsts[id] - rows.by_source_mean[distinct.row(id)];
  }
  return costs;
}

// Dot products of all latents with one row.
std::vector<double> products(const TransportRows& rows, const std::vector<double>& with,
                             Parallel& parallel) {
  Rows one = rows.sources;
  one.data = with.data();
  one.dtype = DType::f64;
  one.count = 1;
  const Scorer scorer(rows.latents, one, rows.kernels);
  std::vector<double> products(rows.latents.count);
  parallel.run(rows.latents.count, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin; j < end; ++j) products[j] = scorer.score(j, 1.0, 0);
  });
  return products;
}

double largest_of(const std::vector<double>& values) {
  double largest = 0.0;
  for (const double v : values) largest = std::max(largest, std::fabs(v));
  return largest;
}

// Sum of the squared distances of the sources to the mean of the latents, or to 0 if that is the
// mean of what they take.
double distances_to_mean(const TransportRows& rows, const GroupRows& group) {
  std::vector<double> row(rows.sources.dim);
  return block_sum(std::ssize(group.sources), [&](int64_t i) {
    const SourceRow source = group.sources[i];
    if (rows.center) return rows.yy[source];
    widen_row(rows.sources, source, row.data());
    double sum = 0.0;
    for (size_t k = 0; k < row.size(); ++k) {
      sum += (row[k] - rows.mean[k]) * (row[k] - rows.mean[k]);
    }
    return sum;
  });
}

}  // namespace

Longest::Longest(const std::vector<double>& squares, const std::vector<int32_t>& rows) {
  double most = 0.0;
  for (const int32_t row : rows) most = std::max(most, squares[row]);
  norm = std::sqrt(most);
  int e;
  std::frexp(norm, &e);
  length = norm > 0.0 ? std::ldexp(1.0, e) : 1.0;
}

TransportRows::TransportRows(const Rows& all_latents, const Rows& all_sources, bool centre,
                             const ExactKernels& exact, const LatentShare* of_many,
                             Parallel& parallel)
    : latents(all_latents),
      sources(all_sources),
      center(centre),
      kernels(exact),
      share(of_many),
      mean(share == nullptr ? column_mean(latents, parallel)
                            : std::vector<double>(share->mean, share->mean + latents.dim)),
      source_mean(column_mean(sources, parallel)) {
  latents.mean = mean.data();
  if (share != nullptr) {
    here_.assign(share->total, -1);
    for (size_t i = 0; i < share->rows.size(); ++i) {
      here_[share->rows[i]] = static_cast<int32_t>(i);
    }
  }
  std::vector<double> squares = squared_norms(latents, parallel);
  if (share != nullptr) norms_here = roots(squares);
  xx = of_all(std::move(squares));
  norms = roots(xx);
  yy = squared_norms(sources, parallel);
  sources.largest = largest_coordinate(sources, parallel);
  yy_centred = squared_norms(less_mean(sources, source_mean), parallel);
  by_source_mean = of_all(products(*this, source_mean, parallel));
  if (!center && sources.count < std::ssize(xx)) {
    by_mean = of_all(products(*this, mean, parallel));
  }
  if (share != nullptr) {
    classes = equal_rows(all_latents, share->rows, xx, share->ranks, parallel);
  }
}

std::vector<double> TransportRows::of_all(std::vector<double> own) const {
  if (share == nullptr) return own;
  std::vector<double> all(share->total);
  share->ranks.place<double>(share->rows, own, all);
  return all;
}

bool TransportRows::all_equal(const std::vector<LatentRow>& group) const {
  const int64_t dim = latents.dim;
  Rows given = latents;
  given.mean = nullptr;  // centring can round different rows to one
  std::vector<double> first(dim), row(dim), theirs;
  bool any = false, equal = true;
  for (const LatentRow r : group) {
    if (here(r) < 0) continue;
    widen_row(given, here(r), any ? row.data() : first.data());
    equal = equal && (!any || row == first);
    any = true;
    if (!equal) break;
  }
  if (share == nullptr) return equal;
  // Of each machine that has some: their first row, or a value that no row has.
  if (!equal) first.assign(dim, NAN);
  bool all = true, some = false;
  if (!any) first.clear();
  share->ranks.for_each_of_bytes(std::as_bytes(std::span(first)),
                                 dim * static_cast<int64_t>(sizeof(double)),
                                 [&](const std::byte* from) {
                                   std::memcpy(row.data(), from, dim * sizeof(double));
                                   if (!some) theirs = row;
                                   some = true;
                                   all = all && row == theirs;
                                 });
  return all;
}

TransportGroup::TransportGroup(const TransportRows& rows, const GroupRows& group,
                               Parallel& parallel)
    : x(rows.xx, group.latents),
      y(rows.yy, group.sources),
      scorer(with_length(rows.latents, x.length), with_length(rows.sources, y.length),
             rows.kernels),
      distinct(distinct_of(rows, group, scorer, parallel)),
      own(own_of(rows, distinct)),
      firsts(first_costs(rows, group, distinct)),
      grid(std::max(x.norm * y.norm, 2.0 * largest_of(firsts)), std::ssize(group.latents)) {
  const int64_t n = std::ssize(group.sources), m = std::ssize(group.latents);
  for (const double price : firsts) first_prices.push_back(grid.of(price));
  const int64_t least = *std::min_element(first_prices.begin(), first_prices.end());
  for (int64_t& price : first_prices) price -= least;

  const double spread =
      std::sqrt(block_sum(m, [&](int64_t j) { return rows.xx[group.latents[j]]; }) /
                static_cast<double>(m)) *
      std::sqrt(block_sum(n, [&](int64_t i) { return rows.yy_centred[group.sources[i]]; }) /
                static_cast<double>(n));
  const auto on_grid = [&](double v) { return std::ldexp(v, grid.exponent()); };
  // Where latents are left over, prices go as far as latents differ for the mean source.
  double wide = spread;
  if (n < m) {
    const std::vector<double> dear = costs_for_mean_source(rows, distinct, firsts);
    const double middle = block_sum(m, [&](int64_t j) { return dear[j]; }) / static_cast<double>(m);
    wide = std::max(wide, block_sum(m, [&](int64_t j) { return std::fabs(dear[j] - middle); }) /
                              static_cast<double>(m));
  }
  const double first = std::floor(on_grid(wide / static_cast<double>(rows.latents.dim)));
  const int64_t most = (int64_t{1} << kEpsilonBits) / grid.factor();
  epsilon =
      first < static_cast<double>(most) ? std::max<int64_t>(1, static_cast<int64_t>(first)) : most;
  epsilon *= grid.factor();
  // Of both sides brought to one variance, or half the squared distances to the mean where latents
  // are left over.
  const double constant =
      n < m ? 0.5 * distances_to_mean(rows, group) : spread * static_cast<double>(n);
  scale = on_grid(constant) * static_cast<double>(grid.factor());
  cost = kLikelyCost * scale;
  moment = scale + static_cast<double>(n) * static_cast<double>(least);
  // Of each score and each price: half a step of the grid, and the rounding of a dot product.
  rounding = 2.0 * static_cast<double>(n) *
             (std::ldexp(1.0, -grid.exponent()) +
              rounding_slack(rows.latents.dim) * (x.norm * y.norm + largest_of(firsts)));
}

void TransportGroup::set_first_prices(std::vector<int64_t> prices) {
  ExactSum fall;
  for (LatentId id = 0; id < distinct.count(); ++id) {
    fall.add(first_prices[id] - prices[id], distinct.members(id));
  }
  moment += fall.rounded();
  first_prices = std::move(prices);
}

}  // namespace gtn
