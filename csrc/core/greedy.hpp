// The greedy loop of Algorithm 1 over one group: windows of sources in visiting order; shortlist
// (parallel, approximate), decide (parallel, exact), walk (in order: a source whose best latent an
// earlier one took uses its next), remove. The loop exists once; backends differ only in the
// Shortlist they bring.
#pragma once

#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/decide.hpp"
#include "core/free_latents.hpp"
#include "core/function_ref.hpp"
#include "core/parallel.hpp"
#include "core/searcher.hpp"
#include "core/stats.hpp"

namespace gtn {

class Greedy {
 public:
  // on_pair(position, latent rank, score) is called in visiting order.
  using OnPair = FunctionRef<void(int64_t position, Rank rank, double score)>;

  Greedy(const Scorer& scorer, FreeLatents& free, const std::vector<double>& source_norms,
         int64_t cone, const ShortlistFactory& make_shortlist, Parallel& parallel, Stats& stats);

  // Matches sources[start...], source rows in visiting order. on_window(position) follows each
  // window, with the number of sources that are final.
  void run(std::span<const SourceRow> sources, int64_t start, OnPair on_pair,
           FunctionRef<void(int64_t)> on_window);

 private:
  struct Window;
  int64_t window_size() const;
  void fill(Window& w);
  void retry_uncertified(Window& w);
  void walk(Window& w, OnPair on_pair);
  int32_t taken_above(const CandidateList& list, double score) const;
  Decision search_again(Window& w, size_t i);
  void adapt(Window& w);
  void decide_all(Window& w, const std::vector<size_t>& which);

  const Scorer& scorer_;
  FreeLatents& free_;
  const std::vector<double>& source_norms_;
  int64_t cone_;
  Parallel& parallel_;
  Stats& stats_;

  Searcher searcher_;
  int64_t depth_;  // best latents a shortlist should be able to certify
  int64_t window_limit_;
};

}  // namespace gtn
