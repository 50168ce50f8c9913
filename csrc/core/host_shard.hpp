// HostShard: a shard over any backend's shortlists.
#pragma once

#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/free_latents.hpp"
#include "core/match.hpp"
#include "core/order.hpp"
#include "core/parallel.hpp"
#include "core/searcher.hpp"
#include "core/shard.hpp"
#include "core/stats.hpp"

namespace gtn {

class HostShard final : public Shard {
 public:
  // index: the row of each latent among those of all machines, ascending. sources: where the rows
  // that queries name will lie. Throws std::invalid_argument for undefined latents.
  HostShard(const Rows& latents, std::span<const int64_t> index, Order order, const Rows& sources,
            const ExactKernels& kernels, const Backend& backend, Parallel& parallel, Stats& stats);

  void search(std::span<const Query> queries, int64_t count, Key* out) override;
  void remove(std::span<const int64_t> taken) override;

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
  const Backend backend_;
  const ShortlistFactory factory_;
  Searcher searcher_;
  Stats& stats_;
  std::vector<LatentId> id_of_row_;
};

}  // namespace gtn
