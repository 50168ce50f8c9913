// Optimal transport over one group by auction (Bertsekas 1979, 1988; similar objects: Bertsekas and
// Castanon 1989): sources bid for latents, prices rise, and with a bid increment epsilon every
// source ends within epsilon of the best it could have at those prices. Phases shrink epsilon to 1,
// where the factor of the grid makes the assignment optimal.
//
// Rounds are synchronous: all bidders of a round see the same prices. The result is therefore a
// pure function of scores and tolerance; the lists of latents that sources keep are only a cache,
// and a source whose list no longer certifies its two best latents is searched again.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/auction_state.hpp"
#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/exact_priced_scan.hpp"
#include "core/function_ref.hpp"
#include "core/parallel.hpp"
#include "core/priced_search.hpp"
#include "core/prices.hpp"
#include "core/score_grid.hpp"
#include "core/source_lists.hpp"
#include "core/spares.hpp"

namespace gtn {

struct AuctionStats {
  int64_t phases = 0, rounds = 0, bids = 0;
  int64_t scans = 0;       // sources searched
  int64_t full_scans = 0;  // of these, by scoring every latent exactly
  int64_t batches = 0;     // searches
  struct Seconds {
    double search = 0, choose = 0, sell = 0, measure = 0;
  } seconds;
};

class Auction {
 public:
  // Lists hold `depth` latents, and up to `longest` where sources are searched again and again.
  // search: the backend's.
  Auction(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
          std::span<const SourceRow> sources, Prices& prices, PricedSearch& search,
          ExactPricedScan& exact, int64_t depth, int64_t longest, Parallel& parallel,
          AuctionStats& stats);

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

  // The best id of each source at the prices of now, and its score less price.
  struct Favourite {
    LatentId id;
    int64_t value;
  };
  std::vector<Favourite> favourites();

  int64_t epsilon() const { return epsilon_; }
  // dual - primal
  double gap() const { return gap_; }

 private:
  struct Choice {
    int64_t best = kNothing, second = kNothing;
    LatentId id = -1;
  };
  // False if the list does not certify the choice; `second_too`: its second best as well.
  bool look(int32_t source, bool second_too, Choice& choice);
  void choose(std::span<const int32_t> sources, bool second_too, std::vector<Choice>& choices);
  void add_likely(std::vector<int32_t>& again);
  void look_at(std::span<const int32_t> sources, bool second_too, std::vector<Choice>& choices,
               std::vector<uint8_t>& sure);
  std::vector<Choice> choices_of_all();  // the best alone
  enum class Effort { usual, longer, all };
  void rescan(std::span<const int32_t> sources, Effort effort);
  void lengthen();
  bool longer_fits() const;
  bool bounds_help() const;
  void judge_bounds(int64_t asked, int64_t failed);
  int64_t exact_score(int32_t source, LatentId id) const;
  void drop_unhappy();
  void place_spares();
  void phase(int64_t limit, FunctionRef<void(int64_t)> on_round);
  void measure();
  double widest_epsilon() const;
  void begin_next_phase();

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  const DistinctLatents& distinct_;
  std::span<const SourceRow> sources_;
  Prices& prices_;
  Spares spares_;
  PricedSearch& search_;
  ExactPricedScan& exact_;  // certifies everything
  Parallel& parallel_;
  AuctionStats& stats_;

  int64_t epsilon_ = 1;
  int64_t phases_ = 0;      // begun
  int64_t bidders_ = 0;     // how many may bid in the next round; 0: the phase is still to begin
  int64_t told_level_ = 0;  // of the spares, when the search was last told of prices
  double primal_ = 0.0, gap_ = 0.0;
  Goal goal_{};                   // of `run`
  double cost_ = 0.0;             // as it is likely to be
  int64_t measured_epsilon_ = 0;  // when the gap was measured; 0: not yet
  std::vector<LatentId> holds_;
  std::vector<int32_t> waiting_;  // ascending

  SourceLists lists_;
  int64_t longest_;
  int64_t searched_ = 0;  // sources, with lists of this length
  // Sources that a backend's bounds were tried on, and those that these could not certify.
  int64_t tried_ = 0, failed_ = 0;
};

}  // namespace gtn
