// Optimal transport over ranks, threads of one process: the bits of one rank, whoever has which
// latents, also where equal latents lie on several ranks; ranks that disagree are told.
#include <doctest/doctest.h>

#include <exception>
#include <random>
#include <thread>

#include "core/collective.hpp"
#include "core/norms.hpp"
#include "core/optimal.hpp"
#include "core/sharded_chooser.hpp"
#include "core/transport_group.hpp"
#include "cpu/priced_cpu.hpp"
#include "sharded_job.hpp"

namespace {

struct Problem {
  int64_t n, m, dim;
  std::vector<float> latents, sources;
  std::vector<int64_t> source_groups{}, latent_groups{};
};

// Every fifth latent is equal to the one before.
Problem problem(int64_t n, int64_t m, int64_t dim) {
  std::mt19937 random(static_cast<unsigned>(n + 31 * m + 997 * dim));
  std::normal_distribution<float> normal;
  Problem p{n, m, dim, std::vector<float>(m * dim), std::vector<float>(n * dim)};
  for (float& v : p.sources) v = normal(random);
  for (int64_t i = 0; i < m * dim; ++i) {
    p.latents[i] = i / dim % 5 == 4 ? p.latents[i - dim] : normal(random);
  }
  return p;
}

struct Solved {
  std::vector<int64_t> assignment;
  std::vector<double> cosine, prices;
  gtn::OptimalStats stats;
  gtn::ShardedStats sharded;
  std::exception_ptr error;

  explicit Solved(const Problem& p) : assignment(p.n, -1), cosine(p.n), prices(p.m) {}
  void solve(const gtn::OptimalInput& in) {
    int64_t placed = 0;
    stats = gtn::optimal_rows(in, gtn::priced_cpu_backend(gtn::select_instruction_set("auto")),
                              {assignment.data(), cosine.data(), prices.data()}, placed, {});
  }
};

gtn::OptimalInput input(const Problem& p) {
  gtn::OptimalInput in;
  in.latents = {.data = p.latents.data(), .count = p.m, .dim = p.dim};
  in.sources = {.data = p.sources.data(), .count = p.n, .dim = p.dim};
  in.depth = 8;
  in.sample_from = 40;
  in.center = p.n < p.m;
  if (!p.source_groups.empty()) {
    in.source_groups = p.source_groups.data();
    in.latent_groups = p.latent_groups.data();
  }
  return in;
}

// spoilt: a rank that sees another source.
std::vector<Solved> over_ranks(const Problem& p, int world, int spoilt = -1) {
  std::vector<Solved> solved(world, Solved(p));
  sharded::Wire wire(world);
  gtn::Parallel parallel(1);
  const std::vector<double> mean = gtn::column_mean(input(p).latents, parallel);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < world; ++rank) {
    ranks.emplace_back([&, rank] {
      Solved& out = solved[rank];
      std::vector<int64_t> rows;
      std::vector<float> latents, sources = p.sources;
      for (int64_t j = 0; j < p.m; ++j) {
        if ((j * j + j / 3) % world != rank) continue;
        rows.push_back(j);
        latents.insert(latents.end(), &p.latents[j * p.dim], &p.latents[j * p.dim] + p.dim);
      }
      if (rank == spoilt) sources[0] += 1.0f;
      sharded::WireExchange exchange(wire, rank);
      gtn::Collective collective(exchange, out.sharded, gtn::ShardedChooser::kBytesOfARound);
      const gtn::LatentShare share{collective, rows, p.m, mean.data()};
      gtn::OptimalInput in = input(p);
      in.latents.data = latents.data();
      in.latents.count = std::ssize(rows);
      in.sources.data = sources.data();
      in.share = &share;
      try {
        out.solve(in);
      } catch (...) {
        out.error = std::current_exception();
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return solved;
}

void check_equal(const Problem& p) {
  Solved alone(p);
  alone.solve(input(p));
  for (const int world : {1, 2, 3, 7}) {
    CAPTURE(world);
    for (const Solved& rank : over_ranks(p, world)) {
      if (rank.error) std::rethrow_exception(rank.error);
      CHECK(rank.assignment == alone.assignment);
      CHECK(rank.cosine == alone.cosine);
      CHECK(rank.prices == alone.prices);
      CHECK(rank.stats.auction.rounds == alone.stats.auction.rounds);
      CHECK(rank.stats.auction.bids == alone.stats.auction.bids);
      CHECK(rank.stats.gap == alone.stats.gap);
      CHECK(rank.stats.rounding == alone.stats.rounding);
      CHECK(rank.stats.distinct == alone.stats.distinct);
      CHECK(rank.sharded.collectives > 0);
    }
  }
}

}  // namespace

TEST_CASE("optimal transport over ranks has the bits of one") {
  check_equal(problem(150, 150, 3));  // with a sample
  check_equal(problem(60, 60, 24));
  check_equal(problem(40, 90, 5));  // with spares
  check_equal(problem(30, 30, 1));
  check_equal(problem(3, 3, 2));  // some ranks have no latent
}

TEST_CASE("optimal transport over ranks solves groups") {
  Problem p = problem(80, 100, 4);
  for (int64_t i = 0; i < p.m; ++i) {
    p.latent_groups.push_back(i % 3);
    if (i < p.n) p.source_groups.push_back(i % 2);
  }
  std::fill(p.source_groups.begin() + 30, p.source_groups.end() - 30, 2);
  check_equal(p);
}

TEST_CASE("ranks that choose differently end the run") {
  for (const Solved& rank : over_ranks(problem(60, 60, 4), 3, 1)) {
    REQUIRE(rank.error);
    CHECK_THROWS_WITH(std::rethrow_exception(rank.error), doctest::Contains("rank 0 did: 1;"));
  }
}
