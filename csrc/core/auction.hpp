// Optimal transport over one group by auction (Bertsekas 1979, 1988; similar objects: Bertsekas and
// Castanon 1989): sources bid for latents, prices rise, and with a bid increment epsilon every
// source ends within epsilon of the best it could have at those prices. Phases shrink epsilon to 1,
// where the factor of the grid makes the assignment optimal.
//
// Rounds are synchronous: all bidders of a round see the same prices. The result is therefore a
// pure function of scores and tolerance. How sources find their best latents: chooser.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/auction_state.hpp"
#include "core/auction_stats.hpp"
#include "core/chooser.hpp"
#include "core/distinct.hpp"
#include "core/function_ref.hpp"
#include "core/parallel.hpp"
#include "core/prices.hpp"
#include "core/spares.hpp"

namespace gtn {

class Auction {
 public:
  // chooser: of the same sources, by their positions.
  Auction(const DistinctLatents& distinct, int64_t sources, Prices& prices, Chooser& chooser,
          Parallel& parallel, AuctionStats& stats);

  // What to go on from after an interruption; whole between any two searches and sales. `prices`
  // are restored before an auction is made, and the rest before it runs.
  AuctionState state() const;
  void restore(int64_t epsilon, int64_t phases, int64_t bidders, double cost);
  bool begun() const { return phases_ > 0; }

  // For people: the phase in progress, from 1; about how many there will be; the gap as last
  // measured, relative as `run` compares it, negative before that.
  int64_t phase_in_progress() const { return phases_ + (bidders_ == 0 ? 1 : 0); }
  int64_t phases_expected() const;
  double relative_gap() const;

  // Runs phases from `epsilon` down until dual - primal <= tolerance * (moment - primal), all of
  // them integers of the grid, or the assignment is optimal. 0: optimal. cost: what moment - primal
  // is likely to be; it decides when to look. cut_phases: the first so many phases leave some
  // sources to the next.
  struct Goal {
    double tolerance, moment, cost;
    int64_t cut_phases;
  };
  void run(int64_t epsilon, const Goal& goal, FunctionRef<void(int64_t placed)> on_round);
  // Runs phases from `epsilon` down to the first that is at most `last`, and leaves some sources
  // without a latent: for prices alone.
  void run_coarsely(int64_t epsilon, int64_t last);

  // moment - primal, if those that wait do as well as others.
  double likely_cost(double moment) const;

  // The best latent of each source at the prices of now; `second` is of no use.
  std::vector<Choice> favourites();

  int64_t epsilon() const { return epsilon_; }
  // dual - primal
  double gap() const { return gap_; }

 private:
  void drop_unhappy();
  void place_spares();
  void phase(int64_t limit, FunctionRef<void(int64_t)> on_round);
  void measure();
  double widest_epsilon() const;
  void begin_next_phase();

  const DistinctLatents& distinct_;
  Prices& prices_;
  Spares spares_;
  Chooser& chooser_;
  Parallel& parallel_;
  AuctionStats& stats_;

  int64_t epsilon_ = 1;
  int64_t phases_ = 0;   // begun
  int64_t bidders_ = 0;  // how many may bid in the next round; 0: the phase is still to begin
  double primal_ = 0.0, gap_ = 0.0;
  Goal goal_{};                   // of `run`
  double cost_ = 0.0;             // as it is likely to be
  int64_t measured_epsilon_ = 0;  // when the gap was measured; 0: not yet
  std::vector<LatentId> holds_;   // by source
  std::vector<int64_t> score_;    // of what the source holds
  std::vector<int32_t> waiting_;  // ascending
};

}  // namespace gtn
