// RunState: where a run of optimal_rows stands, between its groups and within an auction. Begins a
// run from the state of an earlier one, and tells Snapshots the state of this one.
#pragma once

#include <optional>
#include <span>

#include "core/auction.hpp"
#include "core/auction_state.hpp"
#include "core/first_prices.hpp"
#include "core/function_ref.hpp"
#include "core/optimal.hpp"

namespace gtn {

class RunState final : public Followed {
 public:
  // `snapshots` may be null. All must outlive this object.
  RunState(const OptimalInput& in, const OptimalOutput& out, OptimalStats& stats,
           Snapshots* snapshots)
      : in_(in), out_(out), stats_(stats), snapshots_(snapshots) {}

  // Returns the first group that is still to be solved; the output has what earlier ones hold.
  int64_t begin(std::span<const GroupRows> groups);
  // Sources of solved groups, and sources that held a latent when the earlier run ended.
  int64_t placed() const;
  int64_t held() const;
  // Puts prices of a new auction where an earlier run left them.
  void restore(const GroupRows& group, const DistinctLatents& distinct, Prices& prices,
               int64_t first_epsilon);
  // Runs the auction of a group by `work`, from where an earlier run left it.
  void follow(const GroupRows& group, const DistinctLatents& distinct, Auction& auction,
              FunctionRef<void()> work);
  // To be told of the sample that makes a group's first prices.
  Sampling& sampling() { return sampling_; }
  // The output has what the group holds.
  void solved();
  // The run has ended, perhaps by an error: snapshots keep its last state.
  void end();

  OptimalState state() const override;
  int64_t steps() const override;
  Stage stage() const override;

 private:
  struct AtWork {
    const GroupRows& group;
    const DistinctLatents& distinct;
    const Auction& auction;
  };
  void keep_counts();
  bool in_auction() const { return at_work_ && at_work_->auction.begun(); }

  const OptimalInput& in_;
  const OptimalOutput& out_;
  OptimalStats& stats_;
  Snapshots* snapshots_;
  std::span<const GroupRows> groups_;
  bool pending_ = false;  // an auction of the earlier run has not been taken over yet
  bool ended_ = false;
  OptimalState solved_;  // counts alone
  Sampling sampling_;
  std::optional<AtWork> at_work_;
};

}  // namespace gtn
