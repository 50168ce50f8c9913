// LocalPool: the free latents of one machine. Opening a window searches its sources (in parallel,
// bounds) and decides each (in parallel, exact). A source whose best latent an earlier one took
// uses its next.
#pragma once

#include <vector>

#include "core/decide.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "core/searcher.hpp"
#include "core/stats.hpp"

namespace gtn {

class LocalPool final : public Pool {
 public:
  LocalPool(const Scorer& scorer, FreeLatents& free, int64_t cone,
            const ShortlistFactory& make_shortlist, Parallel& parallel, Stats& stats);

  int64_t free() const override { return free_.ids(); }
  void open(std::span<const Query> queries, int64_t depth) override;
  Taken take(size_t source) override;
  void close() override;

  int64_t largest_window() const override { return 1024; }
  int64_t window_share() const override { return 16; }
  int64_t bearable_searches(int64_t window) const override {
    return cheap_alone() ? window : 8 + window / 32;
  }
  bool cheap_alone() const override { return searcher_.cheap_alone(); }
  // In one dimension a list costs as much as a search, and a search little.
  bool long_lists_pay() const override { return scorer_.latents().dim > 1; }

 private:
  void decide_all(const std::vector<size_t>& which);
  void retry_uncertified();
  int32_t taken_above(const CandidateList& list, double score) const;

  const Scorer& scorer_;
  FreeLatents& free_;
  const int64_t cone_;
  Parallel& parallel_;
  Stats& stats_;
  Searcher searcher_;

  // Of the window.
  int64_t depth_ = 0, full_scans_ = 0;
  std::vector<Query> queries_;
  std::vector<CandidateList> lists_;
  std::vector<Decision> decisions_;  // when the window was opened
};

}  // namespace gtn
