// The greedy loop over many shards, each a thread of this process: equal to the literal reference
// however latents are dealt, windows cut and keys told; machines that disagree, and wrong prefixes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "core/held.hpp"
#include "core/host_shard.hpp"
#include "cpu/backend_cpu.hpp"
#include "sets_to_test.hpp"
#include "sharded_job.hpp"

using reference::Data;
using reference::Kind;
using sharded::Dealing;
using sharded::Job;
using sharded::Outcome;

namespace {

sharded::MakeShard on_host(const std::string& name = sets_to_test()[0].name) {
  return [name](const sharded::Part& part) -> std::unique_ptr<gtn::Shard> {
    const gtn::InstructionSet& set = set_to_test(name);
    const gtn::Rows &x = part.latents, &y = part.sources;
    return std::make_unique<gtn::HostShard>(x, part.index, part.order, y, *set.exact,
                                            gtn::cpu_backend(set, 0, x.count, y.count, x.dim),
                                            part.parallel, part.stats);
  };
}

Job with(Job job) {
  if (!job.make) job.make = on_host();
  return job;
}

void check_equal(const Job& job) {
  sharded::check_equal_to_reference(with(job));
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
  const std::vector<Outcome> outcomes = run(with(job));
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
    for (const Outcome& out : run(with(job))) CHECK(out.visited == whole);
  }
  Job twice{x, y, 1};
  twice.prefix = {whole[0], whole[0]};
  const std::vector<Outcome> outcomes = run(with(twice));
  REQUIRE(outcomes[0].error);
  CHECK_THROWS_AS(std::rethrow_exception(outcomes[0].error), std::invalid_argument);
}

TEST_CASE("every instruction set") {
  const Data x = reference::make(Kind::heavy, 600, 40, 50);
  const Data y = reference::make(Kind::gaussian, 500, 40, 51);
  for (const auto& set : sets_to_test()) {
    Job job{x, y};
    job.make = on_host(set.name);
    check_equal(job);
  }
}

TEST_CASE("machines that choose otherwise are named on all machines") {
  // As a memory fault would: a wire changes one score that machine 1 is told, of the worst latent
  // of those that lead the lists of the first source.
  class Liar final : public gtn::Exchange {
   public:
    Liar(sharded::Wire& wire, int rank) : honest_(wire, rank) {}
    int rank() const override { return honest_.rank(); }
    int world() const override { return honest_.world(); }
    void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) override {
      honest_.all_gather(sent, received);
      constexpr size_t kHeader = 16;
      if (rank() != 1 || lied_ || sent.size() < kHeader + sizeof(gtn::Key)) return;
      std::byte* worst = nullptr;
      gtn::Key key;
      for (size_t at = kHeader; at < received.size(); at += sent.size()) {
        gtn::Key head;
        std::memcpy(&head, received.data() + at, sizeof(head));
        if (worst != nullptr && gtn::better(head, key)) continue;
        worst = received.data() + at;
        key = head;
      }
      key.score = 100.0;  // so that its choice is this
      std::memcpy(worst, &key, sizeof(key));
      lied_ = true;
    }

   private:
    sharded::WireExchange honest_;
    bool lied_ = false;
  };
  const Data x = reference::make(Kind::gaussian, 400, 8, 52);
  const Job job = with({x, x, 3});
  sharded::Wire wire(3);
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
