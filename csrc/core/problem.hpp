// Problem: a matching before its greedy loop: centring, norms and checks, groups, orders, and the
// prefix that an earlier run decided. Shared by match.cpp and audit.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/free_latents.hpp"
#include "core/function_ref.hpp"
#include "core/order.hpp"
#include "core/parallel.hpp"
#include "core/rows.hpp"
#include "core/stats.hpp"

namespace gtn {

struct MatchInput {
  Rows latents;  // [m, dim]
  Rows sources;  // [n, dim]
  Order order = Order::norm;
  int64_t cone = 1;
  bool center = false;
  const int64_t* source_groups = nullptr;  // [n] labels, or null for one group
  const int64_t* latent_groups = nullptr;  // [m]
  int threads = 1;
  int64_t start = 0;  // visited[:start] was decided by an earlier run
  const ExactKernels* kernels = &exact_portable;
};

// A group's sources and latents, rows ascending.
struct GroupRows {
  std::vector<SourceRow> sources;
  std::vector<LatentRow> latents;
};

// The groups that have sources, labels ascending; one of everything where there are no labels.
// Throws std::invalid_argument for a group with more sources than latents.
std::vector<GroupRows> rows_of_groups(const MatchInput& in);

// Throws std::invalid_argument: an earlier run cannot have decided entry `entry` like this.
[[noreturn]] void refuse_visited(int64_t entry, int64_t row);

class Problem {
 public:
  // One group, its rows in order.
  struct Group {
    int64_t offset = 0;              // sources of the groups before it
    std::vector<SourceRow> sources;  // source rows in visiting order
    std::unique_ptr<DistinctLatents> distinct;
  };

  // Throws std::invalid_argument for undefined input (contract, rules 5 and 8).
  Problem(const MatchInput& input, Parallel& parallel, Stats& stats);

  // Calls `run` with each group in turn, labels ascending.
  void for_each_group(FunctionRef<void(const Scorer&, const Group&)> run);

  const std::vector<double>& source_norms() const { return source_norms_; }
  const std::vector<double>& latent_norms() const { return latent_norms_; }

 private:
  const MatchInput& in_;
  Parallel& parallel_;
  Stats& stats_;
  Rows latents_;
  std::vector<double> mean_, latent_norms_, source_norms_;
};

// Replays what the first sources of a group took, as `visited` has it: latent rows by position.
class Replay {
 public:
  Replay(const Problem::Group& group, std::span<const int64_t> visited, int64_t latents);

  // The id that the source at a position of the group took. Throws std::invalid_argument if it
  // cannot have taken it while these latents are free.
  LatentId id_taken(int64_t position, const FreeLatents& free) const;

 private:
  const Problem::Group& group_;
  std::span<const int64_t> visited_;
  std::vector<LatentId> id_of_row_;
};

}  // namespace gtn
