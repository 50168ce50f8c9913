// The greedy loop of Algorithm 1: windows of sources in visiting order. A pool (pool.hpp) lists the
// best free latents of each source of a window, and the walk through the window lets each source
// take its best, in order. The loop exists once, for one machine and for many; backends differ only
// in the lists that they bring.
#pragma once

#include <span>
#include <vector>

#include "core/function_ref.hpp"
#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "core/stats.hpp"

namespace gtn {

class Greedy {
 public:
  // on_pair(position, latent, score) is called in visiting order.
  using OnPair = FunctionRef<void(int64_t position, int64_t latent, double score)>;

  Greedy(Pool& pool, int64_t cone, Parallel& parallel, Stats& stats);

  // Matches sources[start...], source rows in visiting order; norms: by source row.
  // on_window(position) follows each window, with the number of sources that are final. May be
  // called again with the sources that come next.
  void run(std::span<const SourceRow> sources, const std::vector<double>& norms, int64_t start,
           OnPair on_pair, FunctionRef<void(int64_t)> on_window);

 private:
  int64_t window_size() const;
  void walk(int64_t begin, OnPair on_pair);
  void adapt();

  Pool& pool_;
  int64_t cone_;
  Parallel& parallel_;
  Stats& stats_;

  int64_t depth_;  // best latents a list should be able to certify
  int64_t window_limit_;

  // Of the window.
  std::vector<Query> queries_;
  int64_t decided_ = 0, searched_ = 0;
  std::vector<int32_t> passed_;  // by source that used a later entry of its list
};

}  // namespace gtn
