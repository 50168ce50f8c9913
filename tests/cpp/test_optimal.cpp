// Optimal transport: searches with codes and with the tree of prices find the pairs of exact scans,
// on every instruction set and with lists of any length; on few rows, the least of all costs.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "core/exact_priced_scan.hpp"
#include "core/optimal.hpp"
#include "cpu/priced_cpu.hpp"
#include "cpu/priced_tree.hpp"
#include "sets_to_test.hpp"

namespace {

using gtn::PricedBackend;
using gtn::PricedSearch;

struct Problem {
  int64_t n, m, dim;
  std::vector<float> latents, sources;
};

// Latents of three clusters, every seventh equal to the one before, and a few so far out that codes
// of one step for all are too coarse for the others.
Problem problem(int64_t n, int64_t m, int64_t dim) {
  std::mt19937 random(static_cast<unsigned>(n + 31 * m + 997 * dim));
  std::normal_distribution<float> normal;
  Problem p{n, m, dim, std::vector<float>(m * dim), std::vector<float>(n * dim)};
  for (float& v : p.sources) v = normal(random);
  for (int64_t j = 0; j < m; ++j) {
    for (int64_t k = 0; k < dim; ++k) {
      const float centre = static_cast<float>((j * (k + 2)) % 3);
      float& v = p.latents[j * dim + k];
      v = j % 7 == 6 ? p.latents[(j - 1) * dim + k] : centre + 0.3f * normal(random);
      if (j % 101 == 100) v *= 50.0f;
    }
  }
  return p;
}

struct Solved {
  std::vector<int64_t> assignment;
  std::vector<double> cosine, prices;
  gtn::OptimalStats stats;
};

Solved solve(const Problem& p, const PricedBackend& backend, int64_t depth, int threads,
             const gtn::ExactKernels* kernels = &gtn::exact_portable) {
  gtn::OptimalInput in;
  in.latents = {.data = p.latents.data(), .count = p.m, .dim = p.dim};
  in.sources = {.data = p.sources.data(), .count = p.n, .dim = p.dim};
  in.depth = depth;
  in.longest = 8 * depth;
  in.threads = threads;
  in.kernels = kernels;
  Solved s{std::vector<int64_t>(p.n, -1), std::vector<double>(p.n), std::vector<double>(p.m), {}};
  int64_t placed = 0;
  s.stats = gtn::optimal_rows(in, backend, {s.assignment.data(), s.cosine.data(), s.prices.data()},
                              placed, {});
  CHECK(placed == p.n);
  return s;
}

std::unique_ptr<PricedSearch> exact(const gtn::Scorer& scorer, const gtn::ScoreGrid& grid,
                                    const gtn::DistinctLatents& distinct, gtn::PriceView prices,
                                    gtn::Parallel& parallel) {
  return std::make_unique<gtn::ExactPricedScan>(scorer, grid, distinct, prices, parallel);
}

PricedBackend tree(const gtn::TreeKernel& kernel) {
  return [&kernel](const gtn::Scorer& scorer, const gtn::ScoreGrid& grid,
                   const gtn::DistinctLatents& distinct, gtn::PriceView prices,
                   gtn::Parallel& parallel) {
    return std::make_unique<gtn::PricedTree>(scorer, grid, distinct, prices, kernel, parallel);
  };
}

double cost(const Problem& p, const std::vector<int64_t>& assignment) {
  double sum = 0.0;
  for (int64_t i = 0; i < p.n; ++i) {
    for (int64_t k = 0; k < p.dim; ++k) {
      const double far = static_cast<double>(p.sources[i * p.dim + k]) -
                         static_cast<double>(p.latents[assignment[i] * p.dim + k]);
      sum += far * far;
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("optimal transport: every search finds the pairs of exact scans") {
  using Shape = std::array<int64_t, 3>;
  for (const auto& [n, m, dim] : {Shape{300, 300, 2}, Shape{200, 300, 3}, Shape{300, 300, 19},
                                  Shape{150, 170, 40}, Shape{1100, 1100, 3}}) {
    const Problem p = problem(n, m, dim);
    const Solved expected = solve(p, &exact, 16, 1);
    std::vector<int64_t> taken = expected.assignment;
    std::sort(taken.begin(), taken.end());
    CHECK(std::adjacent_find(taken.begin(), taken.end()) == taken.end());
    const auto same = [&](const Solved& found) {
      CHECK(found.assignment == expected.assignment);
      CHECK(found.prices == expected.prices);
      CHECK(found.stats.auction.rounds == expected.stats.auction.rounds);
    };
    for (const gtn::InstructionSet& set : sets_to_test()) {
      CAPTURE(set.name);
      if (n > 1000) {  // for a tree of two levels
        same(solve(p, tree(*set.tree), 16, 2));
        continue;
      }
      for (const int64_t depth : {2, 8, 64}) same(solve(p, tree(*set.tree), depth, 2));
      const PricedBackend scan = [&](const gtn::Scorer& scorer, const gtn::ScoreGrid& grid,
                                     const gtn::DistinctLatents& distinct, gtn::PriceView prices,
                                     gtn::Parallel& parallel) {
        return std::make_unique<gtn::PricedCpuSearch>(scorer, grid, distinct, prices, set.scan,
                                                      parallel);
      };
      for (const int64_t depth : {4, 32}) same(solve(p, scan, depth, 2, set.exact));
    }
  }
}

TEST_CASE("optimal transport: no permutation costs less") {
  for (const int64_t dim : {1, 2, 5}) {
    const Problem p = problem(7, 7, dim);
    std::vector<int64_t> permutation(7);
    std::iota(permutation.begin(), permutation.end(), 0);
    double least = INFINITY;
    do {
      least = std::min(least, cost(p, permutation));
    } while (std::next_permutation(permutation.begin(), permutation.end()));
    const Solved found = solve(p, &exact, 4, 1);
    CHECK(cost(p, found.assignment) == doctest::Approx(least).epsilon(1e-12));
    CHECK(found.stats.gap <= 1e-9);
  }
}

TEST_CASE("optimal transport: assign_rows finds the best latent at the prices") {
  const Problem p = problem(120, 90, 6);
  std::vector<double> prices(p.m);
  for (int64_t j = 0; j < p.m; ++j) prices[j] = 0.01 * static_cast<double>((j * 37) % 90);
  gtn::OptimalInput in;
  in.latents = {.data = p.latents.data(), .count = p.m, .dim = p.dim};
  in.sources = {.data = p.sources.data(), .count = p.n, .dim = p.dim};
  in.threads = 2;
  std::vector<int64_t> found(p.n);
  int64_t done = 0;
  gtn::assign_rows(in, prices.data(), tree(gtn::tree_kernel_portable), found.data(), done, {});
  CHECK(done == p.n);
  for (int64_t i = 0; i < p.n; ++i) {
    const auto value = [&](int64_t j) {
      double sum = -prices[j];
      for (int64_t k = 0; k < p.dim; ++k) {
        sum += static_cast<double>(p.sources[i * p.dim + k]) *
               static_cast<double>(p.latents[j * p.dim + k]);
      }
      return sum;
    };
    double best = -INFINITY;
    for (int64_t j = 0; j < p.m; ++j) best = std::max(best, value(j));
    CHECK(value(found[i]) == doctest::Approx(best).epsilon(1e-9));
  }
}
