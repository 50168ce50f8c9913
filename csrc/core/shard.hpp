// Shard: the latents of one machine among many. For each source it lists the best of its free
// latents, exact and in order, over any backend's shortlists.
#pragma once

#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/free_latents.hpp"
#include "core/key.hpp"
#include "core/match.hpp"
#include "core/order.hpp"
#include "core/parallel.hpp"
#include "core/searcher.hpp"
#include "core/stats.hpp"

namespace gtn {

class Shard {
 public:
  // index: the row of each latent among those of all machines, ascending. sources: where the rows
  // that queries name will lie. Throws std::invalid_argument for undefined latents.
  Shard(const Rows& latents, std::span<const int64_t> index, Order order, const Rows& sources,
        const ExactKernels& kernels, const Backend& backend, Parallel& parallel, Stats& stats);

  int64_t free() const { return free_.count(); }
  // The `count` best free latents for each source, best first; fewer only if no more are free.
  // out: [queries][count]
  void search(std::span<const Query> queries, int64_t count, Key* out);
  // Latents that were taken, in the order in which they were, by their rows among those of all
  // machines. Those of other machines are ignored.
  void remove(std::span<const int64_t> taken);

 private:
  struct Scratch;
  void search_block(std::span<const Query> queries, int64_t count, Key* out);
  bool list_best(SourceRow source, CandidateList& list, size_t count, Scratch& scratch, Key* out,
                 double& floor) const;

  const Rows latents_;
  const std::span<const int64_t> index_;
  Parallel& parallel_;
  const bool descending_;
  const std::vector<double> norms_;
  const Scorer scorer_;
  const DistinctLatents distinct_;
  FreeLatents free_;
  const ShortlistFactory factory_;
  Searcher searcher_;
  Stats& stats_;
  std::vector<LatentId> id_of_row_;
};

}  // namespace gtn
