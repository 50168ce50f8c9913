#include "core/run_state.hpp"

#include <algorithm>
#include <new>

namespace gtn {
namespace {

// Of AuctionStats and OptimalState, from the one to the other.
template <class From, class To>
void copy_counts(const From& from, To& to) {
  to.phases = from.phases;
  to.rounds = from.rounds;
  to.bids = from.bids;
  to.scans = from.scans;
  to.full_scans = from.full_scans;
  to.batches = from.batches;
}

}  // namespace

int64_t RunState::begin(std::span<const GroupRows> groups) {
  groups_ = groups;
  if (in_.resumed != nullptr) {
    const OptimalState& s = *in_.resumed;
    check_state(s, groups, in_.sources.count, in_.latent_count(), in_.latents.dim);
    for (int64_t g = 0; g < s.groups; ++g) {
      for (const SourceRow row : groups[g].sources) out_.assignment[row] = s.holds[row];
    }
    std::copy(s.prices.begin(), s.prices.end(), out_.prices);
    stats_.gap = s.gap;
    stats_.rounding = s.rounding;
    stats_.distinct = s.distinct;
    copy_counts(s, stats_.auction);
    solved_.groups = s.groups;
    pending_ = s.epsilon > 0;
    keep_counts();
  }
  if (snapshots_ != nullptr) snapshots_->follow(*this);
  return solved_.groups;
}

int64_t RunState::placed() const {
  int64_t sum = 0;
  for (int64_t g = 0; g < solved_.groups; ++g) sum += std::ssize(groups_[g].sources);
  return sum;
}

int64_t RunState::held() const {
  if (in_.resumed == nullptr) return 0;
  return std::ssize(in_.resumed->holds) - std::ranges::count(in_.resumed->holds, -1);
}

void RunState::restore(const GroupRows& group, const DistinctLatents& distinct, Prices& prices,
                       int64_t first_epsilon) {
  if (!pending_) return;
  const AuctionState auction = in_.resumed->auction_of(group, distinct);
  check_auction(auction, prices, first_epsilon, std::ssize(group.sources));
  prices.restore(auction.price, auction.owner, auction.level);
}

void RunState::follow(const GroupRows& group, const DistinctLatents& distinct, Auction& auction,
                      FunctionRef<void()> work) {
  if (pending_) {
    const OptimalState& s = *in_.resumed;
    auction.restore(s.epsilon, s.phases_of_group, s.bidders, s.cost);
    copy_counts(*in_.resumed, stats_.auction);
    pending_ = false;
  }
  at_work_.emplace(AtWork{group, distinct, auction});
  try {
    work();
  } catch (...) {
    end();
    throw;
  }
  at_work_.reset();
}

void RunState::solved() {
  ++solved_.groups;
  keep_counts();
}

void RunState::keep_counts() {
  copy_counts(stats_.auction, solved_);
  solved_.gap = stats_.gap;
  solved_.rounding = stats_.rounding;
  solved_.distinct = stats_.distinct;
}

void RunState::end() {
  if (snapshots_ == nullptr || ended_) return;
  ended_ = true;
  try {
    snapshots_->end();
  } catch (const std::bad_alloc&) {  // the error that ended the run matters more
    snapshots_->keeps = false;
    snapshots_->end();
  }
}

int64_t RunState::steps() const {
  if (pending_) return in_.resumed->steps();
  OptimalState s;
  s.groups = solved_.groups;
  s.phases = in_auction() ? stats_.auction.phases : solved_.phases;
  s.rounds = in_auction() ? stats_.auction.rounds : solved_.rounds;
  return s.steps();
}

Stage RunState::stage() const {
  Stage s;
  s.groups = std::ssize(groups_);
  s.group = std::min(solved_.groups + 1, s.groups);
  if (at_work_) {
    s.phase = at_work_->auction.phase_in_progress();
    s.phases = at_work_->auction.phases_expected();
    s.gap = at_work_->auction.relative_gap();
  } else if (sampling_.sources > 0) {
    s.sampled = sampling_.sources;
    if (sampling_.auction != nullptr) s.phase = sampling_.auction->phase_in_progress();
  }
  return s;
}

OptimalState RunState::state() const {
  if (pending_) return *in_.resumed;
  OptimalState s = solved_;
  s.holds.assign(in_.sources.count, -1);
  for (int64_t g = 0; g < s.groups; ++g) {
    for (const SourceRow row : groups_[g].sources) s.holds[row] = out_.assignment[row];
  }
  if (s.groups > 0) s.prices.assign(out_.prices, out_.prices + in_.latent_count());
  if (in_auction()) {
    copy_counts(stats_.auction, s);
    s.add(at_work_->auction.state(), at_work_->group, at_work_->distinct, in_.latent_count());
  }
  return s;
}

}  // namespace gtn
