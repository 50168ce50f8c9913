// The state of optimal transport between two rounds: what a run needs to go on as if nothing had
// happened. Prices and owners are all of it. Lists of latents are a cache, and first prices are
// computed again. Also the checks of a state that comes from a file.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/distinct.hpp"
#include "core/prices.hpp"
#include "core/problem.hpp"

namespace gtn {

// Scores take 53 bits. Sums of prices and scores must stay within int64.
constexpr int64_t kLargestPrice = int64_t{1} << 60;

// One group's auction.
struct AuctionState {
  int64_t epsilon = 0;
  int64_t phases = 0;   // begun, of this group
  int64_t bidders = 0;  // how many may bid in the next round; 0: the next phase is still to begin
  int64_t level = 0;    // of spares
  double cost = 0.0;    // as it is likely to be; decides which phase may be the last
  std::vector<int64_t> price;  // by rank; kAtLevel for a latent that a spare holds
  std::vector<int32_t> owner;  // by rank: a source's position in the group, kNobody or kSpare
};

// A run over all groups.
struct OptimalState {
  int64_t groups = 0;  // solved
  // Of solved groups, and of the auction in progress as far as it counts for them.
  int64_t phases = 0, rounds = 0, bids = 0, scans = 0, full_scans = 0, batches = 0;
  int64_t distinct = 0;              // of solved groups
  double gap = 0.0, rounding = 0.0;  // of solved groups
  int64_t epsilon = 0;               // of the auction in progress; 0: there is none
  int64_t phases_of_group = 0, bidders = 0, level = 0;  // as in AuctionState
  double cost = 0.0;
  std::vector<int64_t> holds;  // [n] latent row by source row, -1 for none
  std::vector<int64_t> price;  // [m] by latent row, of the auction in progress; else empty
  std::vector<double> prices;  // [m] by latent row, of solved groups; empty if there are none

  // Grows while a run goes on.
  int64_t steps() const { return groups + phases + rounds; }

  // The part of one group's auction, and back.
  AuctionState auction_of(const GroupRows& group, const DistinctLatents& ids) const;
  void add(const AuctionState& auction, const GroupRows& group, const DistinctLatents& ids,
           int64_t latents);
};

// Throw std::invalid_argument for a state that no run can have been in. The second needs the prices
// that the group begins with.
void check_state(const OptimalState& state, std::span<const GroupRows> groups, int64_t sources,
                 int64_t latents, int64_t dim);
void check_auction(const AuctionState& auction, const Prices& first, int64_t first_epsilon,
                   int64_t sources);

// How far a run has come, for people.
struct Stage {
  int64_t group = 0, groups = 0;  // in progress, from 1; 0 before the first and after the last
  int64_t phase = 0, phases = 0;  // of the group: in progress, and about how many there will be
  double gap = -1.0;              // relative, as last measured in this group; negative: not yet
  int64_t sampled = 0;            // sources of the sample whose phase that is; 0: no sample
};

// A run that can be asked where it stands, on its calling thread.
class Followed {
 public:
  virtual OptimalState state() const = 0;
  virtual int64_t steps() const = 0;  // of `state`
  virtual Stage stage() const = 0;

 protected:
  ~Followed() = default;
};

// Hands out the state of a run to whoever asks: during a poll, and after the run has ended, also by
// an error.
class Snapshots {
 public:
  OptimalState now() const { return run_ != nullptr ? run_->state() : last_; }
  int64_t steps() const { return run_ != nullptr ? run_->steps() : last_.steps(); }
  Stage stage() const { return run_ != nullptr ? run_->stage() : Stage(); }

  void follow(const Followed& run) { run_ = &run; }
  void end() {
    last_ = keeps ? run_->state() : OptimalState();
    run_ = nullptr;
  }
  void begin(OptimalState resumed) { last_ = std::move(resumed); }

  bool keeps = true;  // the last state, when the run has ended

 private:
  const Followed* run_ = nullptr;
  OptimalState last_;
};

}  // namespace gtn
