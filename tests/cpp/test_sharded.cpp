// The greedy loop over many shards, each a thread of this process: equal to the literal reference
// however latents are dealt, windows cut and keys told; machines that disagree, and wrong prefixes.
#include <doctest/doctest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "core/float_mode.hpp"
#include "core/greedy.hpp"
#include "core/held.hpp"
#include "core/host_shard.hpp"
#include "core/norms.hpp"
#include "core/sharded_pool.hpp"
#include "cpu/backend_cpu.hpp"
#include "reference.hpp"
#include "sets_to_test.hpp"

using reference::Data;
using reference::Kind;

namespace {

// The machines of one run.
class Wire {
 public:
  explicit Wire(int world) : sent(static_cast<size_t>(world)), world_(world), barrier_(world) {}
  int world() const { return world_; }
  void wait() { barrier_.arrive_and_wait(); }

  std::vector<std::span<const std::byte>> sent;

 private:
  int world_;
  std::barrier<> barrier_;
};

class WireExchange final : public gtn::Exchange {
 public:
  WireExchange(Wire& wire, int rank) : wire_(wire), rank_(rank) {}
  int rank() const override { return rank_; }
  int world() const override { return wire_.world(); }
  void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) override {
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

 private:
  Wire& wire_;
  int rank_;
};

enum class Dealing { slices, rows, all_to_last };

struct Job {
  const Data& x;
  const Data& y;
  int world = 2;
  Dealing dealing = Dealing::rows;
  int64_t cone = 1;
  gtn::Order order = gtn::Order::norm;
  int64_t chunk = 1000;           // sources of a call
  int64_t start = 0;              // taken by an earlier run
  std::vector<int64_t> prefix{};  // latents by position
  std::string kernel = sets_to_test()[0].name;

  std::vector<int64_t> rows_of(int rank) const {
    std::mt19937 random(5);
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < x.n; ++i) {
      int64_t to = static_cast<int64_t>(random() % static_cast<unsigned>(world));
      if (dealing == Dealing::slices) to = i * world / x.n;
      if (dealing == Dealing::all_to_last) to = world - 1;
      if (to == rank) rows.push_back(i);
    }
    return rows;
  }
};

struct Outcome {
  std::vector<int64_t> visited;  // latent by position
  std::vector<double> scores;
  gtn::ShardedStats stats;
  std::exception_ptr error;
};

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
  const gtn::InstructionSet& set = set_to_test(job.kernel);
  const gtn::Backend backend = gtn::cpu_backend(set, 0, own.n, job.chunk, job.x.dim);
  gtn::HostShard shard(own.rows("latents"), index, job.order, chunk.rows("sources"), *set.exact,
                       backend, parallel, stats);
  gtn::ShardedPool pool(shard, exchange, job.x.n, job.cone, parallel, stats, out.stats);
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

void check_equal(const Job& job) {
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

}  // namespace

TEST_CASE("equal to the reference, whoever has which latent") {
  for (const Kind kind : reference::kKinds) {
    for (const int64_t dim : {1, 3, 24}) {
      const Data x = reference::make(kind, 300, dim, 41);
      const Data y = reference::make(Kind::gaussian, 280, dim, 42);
      CAPTURE(static_cast<int>(kind));
      CAPTURE(dim);
      check_equal({x, y, 1});
      check_equal({x, y, 2, Dealing::slices});
      check_equal({x, y, 5, Dealing::rows, 7});
      check_equal({x, y, 3, Dealing::all_to_last, 1, gtn::Order::norm_desc});
    }
  }
}

TEST_CASE("chunks of any size, orders, cones wider than what is left, more machines than latents") {
  const Data x = reference::make(Kind::clusters, 400, 12, 43);
  const Data y = reference::make(Kind::gaussian, 400, 12, 44);
  for (const int64_t chunk : {1, 37, 400}) {
    check_equal({x, y, 2, Dealing::rows, 1, gtn::Order::index, chunk});
  }
  check_equal({x, y, 3, Dealing::rows, 399});
  const Data few = reference::make(Kind::repeated, 6, 4, 45);
  check_equal({few, few, 9});
}

TEST_CASE("a window of few collectives") {
  const Data x = reference::make(Kind::gaussian, 3000, 16, 46);
  const Data y = reference::make(Kind::gaussian, 3000, 16, 47);
  const Job job{x, y, 2, Dealing::rows, 1, gtn::Order::norm, 3000};
  const std::vector<Outcome> outcomes = run(job);
  CHECK(outcomes[1].visited == reference::match(x, y, {}).visited);
  // A thirty-second of the free latents is a window, and nearly none needs a second exchange.
  CHECK(outcomes[0].stats.collectives < 130);
  CHECK(outcomes[0].stats.received < 3000 * 2 * 5 * 24 + 130 * 48);
}

TEST_CASE("a run goes on behind what an earlier one took, with another number of machines") {
  const Data x = reference::make(Kind::repeated, 500, 3, 48);
  const Data y = reference::make(Kind::gaussian, 450, 3, 49);
  const auto whole = reference::match(x, y, {}).visited;
  for (const int64_t start : {1, 200, 449, 450}) {
    Job job{x, y, 3};
    job.prefix.assign(whole.begin(), whole.begin() + start);
    for (const Outcome& out : run(job)) CHECK(out.visited == whole);
  }
  Job twice{x, y, 1};
  twice.prefix = {whole[0], whole[0]};
  const std::vector<Outcome> outcomes = run(twice);
  REQUIRE(outcomes[0].error);
  CHECK_THROWS_AS(std::rethrow_exception(outcomes[0].error), std::invalid_argument);
}

TEST_CASE("every instruction set") {
  const Data x = reference::make(Kind::heavy, 600, 40, 50);
  const Data y = reference::make(Kind::gaussian, 500, 40, 51);
  for (const auto& set : sets_to_test()) {
    Job job{x, y};
    job.kernel = set.name;
    check_equal(job);
  }
}

TEST_CASE("machines that choose otherwise are named on all machines") {
  // As a memory fault would: a wire changes one score that machine 1 is told.
  class Liar final : public gtn::Exchange {
   public:
    Liar(Wire& wire, int rank) : honest_(wire, rank) {}
    int rank() const override { return honest_.rank(); }
    int world() const override { return honest_.world(); }
    void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) override {
      honest_.all_gather(sent, received);
      constexpr size_t kHeader = 24;
      if (rank() != 1 || ++calls_ != 3 || sent.size() == kHeader) return;
      gtn::Key key;
      std::memcpy(&key, received.data() + kHeader, sizeof(key));
      key.score = 100.0;  // so that its choice is this
      std::memcpy(received.data() + kHeader, &key, sizeof(key));
    }

   private:
    WireExchange honest_;
    int calls_ = 0;
  };
  const Data x = reference::make(Kind::gaussian, 400, 8, 52);
  const Job job{x, x, 3};
  Wire wire(3);
  std::vector<std::string> messages(3);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.emplace_back([&, rank] {
      Liar exchange(wire, rank);
      Outcome out;
      try {
        run_rank(job, exchange, out);
      } catch (const std::runtime_error& error) {
        messages[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const std::string& message : messages) {
    CHECK(message.rfind("ranks must choose alike, and not all chose as rank 0 did: 1;", 0) == 0);
  }
}

TEST_CASE("what is held in a trial is free after it") {
  gtn::Held held;
  std::set<int64_t> expected;
  std::mt19937_64 random(3);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2000; ++i) {
      const auto latent = static_cast<int64_t>(random() % 5000);
      held.insert(latent);
      expected.insert(latent);
    }
    held.begin_trial();
    for (int64_t latent = 0; latent < 4000; latent += 3) {
      held.insert(latent);
      CHECK(held.contains(latent));
    }
    held.end_trial();
    for (int64_t latent = 0; latent < 5000; ++latent) {
      CHECK(held.contains(latent) == (expected.count(latent) > 0));
    }
  }
  held.clear();
  CHECK(!held.contains(*expected.begin()));
}
