#include "sharded_job.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "core/float_mode.hpp"
#include "core/greedy.hpp"
#include "core/norms.hpp"

namespace sharded {

using reference::Data;

void WireExchange::all_gather(std::span<const std::byte> sent, std::span<std::byte> received) {
  wire_.sent[static_cast<size_t>(rank_)] = sent;
  wire_.wait();
  std::byte* to = received.data();
  for (const auto& part : wire_.sent) {
    CHECK(part.size() == sent.size());
    std::memcpy(to, part.data(), std::min(part.size(), sent.size()));
    to += sent.size();
  }
  wire_.wait();
}

std::vector<int64_t> Job::rows_of(int rank) const {
  std::mt19937 random(5);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < x.n; ++i) {
    auto to = static_cast<int64_t>(random() % static_cast<unsigned>(world));
    if (dealing == Dealing::slices) to = i * world / x.n;
    if (dealing == Dealing::all_to_last) to = world - 1;
    if (to == rank) rows.push_back(i);
  }
  return rows;
}

namespace {

std::vector<int32_t> visiting_order(const Job& job) {
  std::vector<double> norms;
  for (int64_t i = 0; i < job.y.n; ++i) {
    norms.push_back(std::sqrt(reference::dot(job.y, i, job.y, i)));
  }
  std::vector<int32_t> rows = reference::all_rows(job.y.n);
  if (job.order != gtn::Order::index) {
    std::stable_sort(rows.begin(), rows.end(), [&](int32_t a, int32_t b) {
      const double first = norms[static_cast<size_t>(a)], second = norms[static_cast<size_t>(b)];
      return job.order == gtn::Order::norm_desc ? first > second : first < second;
    });
  }
  return rows;
}

}  // namespace

void run_rank(const Job& job, gtn::Exchange& exchange, Outcome& out) {
  const gtn::DefaultFloatMode mode;
  const std::vector<int64_t> index = job.rows_of(exchange.rank());
  Data own{static_cast<int64_t>(index.size()), job.x.dim, {}, {}};
  for (const int64_t row : index) {
    for (int64_t k = 0; k < job.x.dim; ++k) {
      if (job.x.f64.empty()) own.f32.push_back(static_cast<float>(job.x.at(row, k)));
      if (!job.x.f64.empty()) own.f64.push_back(job.x.at(row, k));
    }
  }
  Data chunk{
      job.chunk, job.x.dim, std::vector<float>(static_cast<size_t>(job.chunk * job.x.dim)), {}};
  gtn::Parallel parallel(1);
  gtn::Stats stats;
  const std::unique_ptr<gtn::Shard> shard =
      job.make({own.rows("latents"), index, job.order, chunk.rows("sources"), parallel, stats});
  gtn::ShardedPool pool(*shard, exchange, job.x.n, job.cone, parallel, stats, out.stats);
  pool.remove(job.prefix);
  gtn::Greedy greedy(pool, job.cone, parallel, stats);
  const std::vector<int32_t> order = visiting_order(job);
  out.visited = job.prefix;
  for (int64_t begin = std::ssize(job.prefix); begin < job.y.n; begin += job.chunk) {
    const int64_t size = std::min(job.chunk, job.y.n - begin);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t k = 0; k < job.x.dim; ++k) {
        chunk.f32[static_cast<size_t>(i * job.x.dim + k)] =
            static_cast<float>(job.y.at(order[static_cast<size_t>(begin + i)], k));
      }
    }
    gtn::Rows rows = chunk.rows("sources");
    rows.count = size;
    const std::vector<double> norms = gtn::checked_norms(rows, parallel);
    greedy.run(
        reference::all_rows(size), norms, 0,
        [&](int64_t, int64_t latent, double score) {
          out.visited.push_back(latent);
          out.scores.push_back(score);
        },
        [](int64_t) {});
    pool.agree();
  }
}

std::vector<Outcome> run(const Job& job) {
  Wire wire(job.world);
  std::vector<Outcome> outcomes(static_cast<size_t>(job.world));
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < job.world; ++rank) {
    ranks.emplace_back([&, rank] {
      WireExchange exchange(wire, rank);
      Outcome& out = outcomes[static_cast<size_t>(rank)];
      try {
        run_rank(job, exchange, out);
      } catch (...) {
        out.error = std::current_exception();
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return outcomes;
}

void check_equal_to_reference(const Job& job) {
  const auto expected =
      reference::match(job.x, job.y, {.order = job.order, .cone = job.cone}).visited;
  const std::vector<Outcome> outcomes = run(job);
  for (const Outcome& out : outcomes) {
    if (out.error) std::rethrow_exception(out.error);
    CHECK(out.visited == expected);
    CHECK(out.scores == outcomes[0].scores);
    CHECK(out.stats.collectives == outcomes[0].stats.collectives);
  }
}

}  // namespace sharded
