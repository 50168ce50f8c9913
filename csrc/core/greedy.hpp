// The greedy loop of Algorithm 1 over one group: windows of sources in visiting order; shortlist
// (parallel, approximate), decide (parallel, exact), walk (in order: a source whose best latent an
// earlier one took uses its next), remove. The loop exists once; backends differ only in the
// Shortlist they bring.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "core/contract.hpp"
#include "core/decide.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "core/stats.hpp"

namespace gtn {

// Makes the backend's shortlist over the latents that are free now.
using ShortlistFactory = std::function<std::unique_ptr<Shortlist>(const FreeLatents&)>;

class Greedy {
 public:
  // on_pair(position, latent rank, score) is called in visiting order.
  using OnPair = std::function<void(int64_t position, int32_t rank, double score)>;

  Greedy(const Scorer& scorer, FreeLatents& free, const std::vector<double>& source_norms,
         int64_t cone, const ShortlistFactory& make_shortlist, Parallel& parallel, Stats& stats);

  // Matches sources[start...], source rows in visiting order. on_window(position) follows each
  // window, with the number of sources that are final.
  void run(std::span<const int32_t> sources, int64_t start, const OnPair& on_pair,
           const std::function<void(int64_t)>& on_window);

 private:
  struct Window;
  int64_t window_size() const;
  void fill(Window& w);
  void retry_uncertified(Window& w);
  void walk(Window& w, const OnPair& on_pair);
  int32_t taken_above(const CandidateList& list, double score) const;
  Decision search_again(Window& w, size_t i);
  void flush_removals(Window& w);
  void adapt(Window& w);
  Shortlist& current();
  Shortlist& exact();
  void decide_all(Window& w, const std::vector<size_t>& which);
  void note_shortlist();

  const Scorer& scorer_;
  FreeLatents& free_;
  const std::vector<double>& source_norms_;
  int64_t cone_;
  const ShortlistFactory& make_shortlist_;
  Parallel& parallel_;
  Stats& stats_;

  std::unique_ptr<Shortlist> shortlist_;  // the backend's; none while few latents are free
  std::unique_ptr<Shortlist> exact_;      // made when first needed
  int64_t depth_;                         // best latents a shortlist should be able to certify
  int64_t window_limit_;
  bool hopeless_ = false;  // most sources needed a full scan: make no more shortlists
};

}  // namespace gtn
