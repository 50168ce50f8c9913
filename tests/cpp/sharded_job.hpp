// Ranks of a sharded matching as threads of one process, over any kind of shard; for the tests.
#pragma once

#include <barrier>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/exchange.hpp"
#include "core/order.hpp"
#include "core/parallel.hpp"
#include "core/shard.hpp"
#include "core/sharded_pool.hpp"
#include "reference.hpp"

namespace sharded {

// What the ranks of a run exchange by.
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
  void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) override;

 private:
  Wire& wire_;
  int rank_;
};

enum class Dealing { slices, rows, all_to_last };

// What a shard is made of.
struct Part {
  gtn::Rows latents;
  std::span<const int64_t> index;
  gtn::Order order;
  gtn::Rows sources;  // where those of a chunk will lie
  gtn::Parallel& parallel;
  gtn::Stats& stats;
};
using MakeShard = std::function<std::unique_ptr<gtn::Shard>(const Part&)>;

struct Job {
  const reference::Data& x;
  const reference::Data& y;
  int world = 2;
  Dealing dealing = Dealing::rows;
  int64_t cone = 1;
  gtn::Order order = gtn::Order::norm;
  int64_t chunk = 1000;           // sources of a call
  std::vector<int64_t> prefix{};  // latents that an earlier run took
  MakeShard make{};

  std::vector<int64_t> rows_of(int rank) const;
};

struct Outcome {
  std::vector<int64_t> visited;  // latent by position
  std::vector<double> scores;
  gtn::ShardedStats stats;
  std::exception_ptr error;
};

void run_rank(const Job& job, gtn::Exchange& exchange, Outcome& out);
std::vector<Outcome> run(const Job& job);  // by rank
// Throws what a rank threw.
void check_equal_to_reference(const Job& job);

}  // namespace sharded
