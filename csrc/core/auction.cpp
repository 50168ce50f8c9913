#include "core/auction.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "core/exact_sum.hpp"
#include "core/stats.hpp"

namespace gtn {
namespace {

// The schedule is part of the contract: other constants give other pairs where these are not
// unique, and other results for a tolerance above 0.
constexpr int kRatioBits = 2;  // epsilon falls by so many bits a phase
// The first phases leave n >> 8 sources to the next: half of all bids would place them, and a
// search for one source costs ten times its share of a batch. Left for much longer, they need
// prices to move by many epsilons.
constexpr int kCutBits = 8;
constexpr int64_t kFewestBidders = 64;
constexpr double kHope = 1.6;     // see widest_epsilon
constexpr double kRoom = 0.9999;  // of the tolerance: the rest is for the rounding of scores

}  // namespace

Auction::Auction(const DistinctLatents& distinct, int64_t sources, Prices& prices, Chooser& chooser,
                 Parallel& parallel, AuctionStats& stats)
    : distinct_(distinct),
      prices_(prices),
      spares_(prices, std::max<int64_t>(0, distinct.latents() - sources)),
      chooser_(chooser),
      parallel_(parallel),
      stats_(stats),
      holds_(sources, -1),
      score_(sources, 0) {}

// Sources that would gain more than epsilon by another latent give theirs up.
void Auction::drop_unhappy() {
  // Who is content with the least price of equal latents has to be so when that has risen to the
  // price of the own one.
  prices_.level_members();
  std::vector<int32_t> placed;
  waiting_.clear();
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    (holds_[i] < 0 ? waiting_ : placed).push_back(i);
  }
  std::vector<Choice> choices;
  chooser_.choose(placed, false, choices);
  for (size_t k = 0; k < placed.size(); ++k) {
    const int32_t i = placed[k];
    const LatentId id = holds_[i];
    if (score_[i] - prices_.of(id) >= choices[k].best - epsilon_) continue;
    prices_.release(id, i);
    holds_[i] = -1;
    waiting_.push_back(i);
  }
  std::sort(waiting_.begin(), waiting_.end());
  const std::vector<LatentId> freed = spares_.held();
  spares_.drop();
  chooser_.raised(freed);  // the last time that they are known to have followed the level
}

// Spares bid in rounds of their own, as soon as one has no latent.
void Auction::place_spares() {
  std::vector<int32_t> displaced;
  spares_.place(epsilon_, displaced);
  for (const int32_t source : displaced) {
    holds_[source] = -1;
    waiting_.push_back(source);
  }
  if (!displaced.empty()) std::sort(waiting_.begin(), waiting_.end());
}

void Auction::phase(int64_t limit, FunctionRef<void(int64_t)> on_round) {
  struct Bid {
    LatentId id;
    int32_t source;
    int64_t price, score;
  };
  // Polls, and with them errors and snapshots, come while lists are searched or the search is told
  // of prices: `state` is whole there.
  if (bidders_ == 0) {
    drop_unhappy();
    ++stats_.phases;
    ++phases_;
    bidders_ = std::ssize(holds_);
  }
  std::vector<Choice> choices;
  std::vector<Bid> bids;
  std::vector<int32_t> still;
  std::vector<LatentId> raised;
  for (;;) {
    place_spares();
    if (std::ssize(waiting_) <= limit) return;
    parallel_.poll_if_due();
    const size_t count = std::min<int64_t>(bidders_, std::ssize(waiting_));
    chooser_.choose(std::span(waiting_).first(count), true, choices);
    PhaseTimer timer(stats_.seconds.sell);
    bids.clear();
    for (size_t k = 0; k < count; ++k) {
      const Choice& c = choices[k];
      const int64_t second = c.second == kNothing ? c.best : c.second;
      const int64_t now = prices_.of(c.id), price = now + (c.best - second) + epsilon_;
      if (price > kLargestPrice) throw std::logic_error("prices left their range");
      bids.push_back({c.id, waiting_[k], price, c.best + now});
    }
    std::sort(bids.begin(), bids.end(), [](const Bid& a, const Bid& b) {
      if (a.id != b.id) return a.id < b.id;
      return a.price != b.price ? a.price > b.price : a.source < b.source;
    });
    still.assign(waiting_.begin() + count, waiting_.end());
    raised.clear();
    int64_t winners = 0;
    LatentId full = -1;  // its members are all dearer than the bids that are left
    for (const Bid& b : bids) {
      if (b.id == full || b.price <= prices_.of(b.id)) {
        full = b.id;
        still.push_back(b.source);
        continue;
      }
      const int32_t loser = prices_.cheapest_owner(b.id);
      if (loser >= 0) {
        holds_[loser] = -1;
        still.push_back(loser);
      }
      prices_.sell(b.id, b.price, b.source);
      if (loser == kSpare) spares_.lost(b.id);
      holds_[b.source] = b.id;
      score_[b.source] = b.score;
      if (raised.empty() || raised.back() != b.id) raised.push_back(b.id);
      ++winners;
    }
    std::sort(still.begin(), still.end());
    waiting_.swap(still);
    bidders_ = std::max(kFewestBidders, 4 * winners);
    ++stats_.rounds;
    stats_.bids += std::ssize(bids);
    chooser_.raised(raised);
    on_round(std::ssize(holds_) - std::ssize(waiting_));
  }
}

std::vector<Choice> Auction::favourites() {
  std::vector<int32_t> all(holds_.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<Choice> choices;
  chooser_.choose(all, false, choices);
  return choices;
}

// The duality gap: how much more the sources could have at these prices, in all.
void Auction::measure() {
  PhaseTimer timer(stats_.seconds.measure);
  const std::vector<Choice> choices = favourites();
  primal_ = 0.0;
  gap_ = spares_.gap();
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    const int64_t score = score_[i];
    primal_ += static_cast<double>(score - prices_.at_start(holds_[i]));
    gap_ += static_cast<double>(choices[i].best - (score - prices_.of(holds_[i])));
  }
  measured_epsilon_ = epsilon_;
}

// The largest epsilon with which a phase may be the last: all sources together could miss kHope
// times the tolerance. They end within epsilon of their best, and about half of that on average.
double Auction::widest_epsilon() const {
  return kHope * (goal_.tolerance * cost_) / static_cast<double>(distinct_.latents());
}

// Epsilon falls by kRatioBits, but not past where the run may end.
void Auction::begin_next_phase() {
  const double widest = widest_epsilon();
  int64_t next = std::max<int64_t>(1, epsilon_ >> kRatioBits);
  if (widest < static_cast<double>(epsilon_)) next = std::max(next, static_cast<int64_t>(widest));
  epsilon_ = next;
  bidders_ = 0;
}

void Auction::run(int64_t epsilon, const Goal& goal, FunctionRef<void(int64_t)> on_round) {
  const int64_t n = std::ssize(holds_);
  goal_ = goal;
  if (!begun()) {
    epsilon_ = epsilon;
    cost_ = goal.cost;
  }
  for (;; begin_next_phase()) {
    const bool enough = static_cast<double>(epsilon_) <= widest_epsilon();
    const bool last = epsilon_ == 1;
    const int64_t earlier = phases_ - (bidders_ > 0);
    const bool cut = !last && !enough && earlier < goal.cut_phases;
    phase(cut ? n >> kCutBits : 0, on_round);
    if (last || enough) {
      measure();
      if (last || gap_ <= kRoom * goal.tolerance * (goal.moment - primal_)) return;
    }
    if (goal.tolerance > 0.0) cost_ = likely_cost(goal.moment);
  }
}

double Auction::likely_cost(double moment) const {
  ExactSum primal;
  int64_t held = 0;
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    if (holds_[i] < 0) continue;
    primal.add(score_[i] - prices_.at_start(holds_[i]));
    ++held;
  }
  return moment -
         primal.rounded() * static_cast<double>(std::ssize(holds_)) / static_cast<double>(held);
}

void Auction::run_coarsely(int64_t epsilon, int64_t last) {
  for (epsilon_ = epsilon;; begin_next_phase()) {
    phase(std::ssize(holds_) >> kCutBits, [](int64_t) {});
    if (epsilon_ <= last) return;
  }
}

double Auction::relative_gap() const {
  return measured_epsilon_ > 0 && goal_.moment > primal_ ? gap_ / (goal_.moment - primal_) : -1.0;
}

// Until the first measurement the end is about where one is worth its time. Then gaps shrink about
// as epsilon does.
int64_t Auction::phases_expected() const {
  const double widest = measured_epsilon_ > 0 ? goal_.tolerance * (goal_.moment - primal_) / gap_ *
                                                    static_cast<double>(measured_epsilon_)
                                              : widest_epsilon();
  int64_t phases = phase_in_progress();
  for (int64_t e = epsilon_; e > 1 && static_cast<double>(e) > widest; e >>= kRatioBits) ++phases;
  return phases;
}

AuctionState Auction::state() const {
  AuctionState s{epsilon_, phases_, bidders_, prices_.level(), cost_, {}, {}};
  s.price.resize(distinct_.latents());
  s.owner.resize(distinct_.latents());
  prices_.members([&](Rank rank, int64_t price, int32_t owner) {
    s.price[rank.value] = price;
    s.owner[rank.value] = owner;
  });
  return s;
}

void Auction::restore(int64_t epsilon, int64_t phases, int64_t bidders, double cost) {
  epsilon_ = epsilon;
  phases_ = phases;
  bidders_ = bidders;
  cost_ = cost;
  for (LatentId id = 0; id < distinct_.count(); ++id) {
    prices_.owners(id, [&](Rank, int32_t owner) {
      if (owner >= 0) holds_[owner] = id;
    });
  }
  waiting_.clear();
  std::vector<int32_t> placed;
  std::vector<LatentId> ids;
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    if (holds_[i] < 0) {
      waiting_.push_back(i);
    } else {
      placed.push_back(i);
      ids.push_back(holds_[i]);
    }
  }
  const std::vector<int64_t> scores = chooser_.scores(placed, ids);
  for (size_t k = 0; k < placed.size(); ++k) score_[placed[k]] = scores[k];
}

}  // namespace gtn
