// ShardedPool: the free latents of many machines, a shard each. Every machine runs the same loop.
// Opening a window, each lists the best free latents of its shard for each source (shard.hpp), one
// all_gather tells all machines, and each merges the lists into the true order of all free latents,
// as far as that is known: up to the last key of some shard, because what that shard did not list
// is worse. A source takes the first of its list that no earlier one holds. Where a list has run
// out, shards remove what was taken and list more, for all sources whose lists are about to run
// out.
//
// Neither the number of machines, nor who has which latent, nor windows and lengths of lists change
// a choice. A hash of all choices rides in each exchange: machines that disagree end the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/collective.hpp"
#include "core/held.hpp"
#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "core/shard.hpp"
#include "core/stats.hpp"

namespace gtn {

class ShardedPool final : public Pool {
 public:
  // total: free latents of all machines.
  ShardedPool(Shard& shard, Exchange& exchange, int64_t total, int64_t cone, Parallel& parallel,
              Stats& stats, ShardedStats& sharded);

  int64_t free() const override { return free_; }
  void open(std::span<const Query> queries, int64_t depth) override;
  Taken take(size_t source) override;
  void close() override;

  // A window has no more keys of all machines than some 64 MB.
  int64_t largest_window() const override;
  int64_t window_share() const override { return 16; }
  // Searches again go together.
  int64_t bearable_searches(int64_t window) const override { return window; }
  bool cheap_alone() const override { return false; }
  bool long_lists_pay() const override { return true; }

  // Latents that an earlier run took, in its order; told on every machine alike.
  void remove(std::span<const int64_t> taken);
  // Throws std::runtime_error, on every machine, if they did not choose alike.
  void agree() { ranks_.agree(); }

 private:
  struct Prefix {
    size_t begin = 0, length = 0;
    bool whole = false;  // has all latents that were free
  };
  int64_t keys_for(int64_t depth) const;
  void list(std::span<const size_t> sources, int64_t keys);
  void merge(std::span<const size_t> sources, int64_t keys);
  bool choose(size_t source, Key& choice, int32_t& passed) const;
  void search_again(size_t first);
  void note(const Key& choice);

  Shard& shard_;
  Collective ranks_;
  const int64_t world_, cone_;
  Parallel& parallel_;
  Stats& stats_;
  int64_t free_;
  int64_t first_keys_;  // that a shard lists for a source when a window opens

  // Of the window.
  std::vector<Query> queries_;
  int64_t keys_ = 0;               // the same, as sources are searched again
  std::vector<Key> merged_;        // lists of the sources
  std::vector<Prefix> prefixes_;   // where they lie, by source
  std::vector<uint8_t> searched_;  // again, by source
  std::vector<int64_t> taken_;     // that the shard was not told of
  Held held_;
};

}  // namespace gtn
