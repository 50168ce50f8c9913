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

// Rounds with fewer bidders are over before other threads have woken.
constexpr int64_t kBiddersWorthSharing = 512;

// A search for so many sources costs little more than one for one, and so many sources are looked
// at to fill it up, by so many latents each.
constexpr size_t kFewSearched = 32;
constexpr size_t kChain = 128;
constexpr size_t kWanted = 4;

// A longer list is so many times as long, and costs what it takes to score so many times as many
// latents.
constexpr int64_t kLonger = 8;
constexpr int64_t kScoredAsFast = 8;

// After so many searches of every source, lists become twice as long.
constexpr int64_t kSearchesALength = 8;

// Lists of a search take thrice the memory that they have here, so searches are no larger.
constexpr size_t kSearchedAtOnce = 4096;

}  // namespace

Auction::Auction(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                 std::span<const SourceRow> sources, Prices& prices, PricedSearch& search,
                 ExactPricedScan& exact, int64_t depth, int64_t longest, Parallel& parallel,
                 AuctionStats& stats)
    : scorer_(scorer),
      grid_(grid),
      distinct_(distinct),
      sources_(sources),
      prices_(prices),
      spares_(prices, std::max<int64_t>(0, distinct.latents() - std::ssize(sources))),
      search_(search),
      exact_(exact),
      parallel_(parallel),
      stats_(stats),
      lists_(std::ssize(sources), std::min<int64_t>(depth, distinct.count())),
      longest_(std::min<int64_t>(longest, distinct.count())) {
  holds_.assign(sources.size(), -1);
  told_level_ = prices.level();
}

int64_t Auction::exact_score(int32_t source, LatentId id) const {
  return grid_.of(scorer_.score(distinct_.row(id), 1.0, sources_[source]));
}

bool Auction::look(int32_t source, bool second_too, Choice& choice) {
  Choice c;
  const SourceLists::List list = lists_.of(source);
  for (size_t t = 0; t < list.ids.size(); ++t) {
    int32_t& stored = list.ids[t];
    int64_t& score = list.scores[t];
    const LatentId id = stored < 0 ? ~stored : stored;
    int64_t value = score - prices_.of(id);
    if (value < c.second) continue;
    if (stored < 0) {
      score = exact_score(source, id);
      stored = id;
      value = score - prices_.of(id);
      if (value < c.second) continue;
    }
    if (value > c.best || (value == c.best && id < c.id)) {
      c.second = c.best;
      c.best = value;
      c.id = id;
    } else {
      c.second = value;
    }
  }
  choice = c;
  if (second_too && c.second < list.outside) return false;
  return c.best > list.outside || (c.best == list.outside && c.id <= list.outside_id);
}

// usual: as the backend finds lists. longer: with scores of many more latents, as bounds of the
// backend's can be too coarse to tell the best apart. all: with scores of all.
void Auction::rescan(std::span<const int32_t> sources, Effort effort) {
  PhaseTimer timer(stats_.seconds.search);
  if (prices_.level() > told_level_) {  // in the eyes of the search, prices may lag behind
    told_level_ = prices_.level();
    const std::vector<LatentId> held = spares_.held();
    search_.raised(held);
  }
  std::vector<SourceRow> rows;
  std::vector<int64_t> before;
  std::vector<PricedList> found;
  const size_t most = effort == Effort::longer ? kSearchedAtOnce / kLonger : kSearchedAtOnce;
  for (size_t from = 0; from < sources.size(); from += most) {
    const auto some = sources.subspan(from, std::min(most, sources.size() - from));
    rows.clear();
    before.clear();
    for (const int32_t s : some) {
      rows.push_back(sources_[s]);
      before.push_back(lists_.outside(s));
    }
    found.resize(some.size());
    if (effort == Effort::all) {
      exact_.search(rows, before, lists_.depth(), found);
    } else if (effort == Effort::longer) {
      search_.search(rows, before, kLonger * lists_.depth(), found);
      exact_.sharpen(rows, lists_.depth(), found);
    } else {
      search_.search(rows, before, lists_.depth(), found);
    }
    for (size_t i = 0; i < some.size(); ++i) lists_.set(some[i], found[i]);
  }
  stats_.scans += std::ssize(sources);
  searched_ += std::ssize(sources);
  ++stats_.batches;
}

// Adds sources that are likely to wait next and to be searched then: those that hold what these
// want, and so on. A search for a few costs as much as one for many.
void Auction::add_likely(std::vector<int32_t>& again) {
  if (search_.cheap_alone() || again.size() >= kFewSearched / 2) return;
  std::vector<int32_t> chain = again;
  std::vector<std::pair<int64_t, int32_t>> wanted;  // value and owner
  for (size_t at = 0; at < chain.size() && chain.size() < kChain; ++at) {
    const SourceLists::List list = lists_.of(chain[at]);
    wanted.clear();
    for (size_t t = 0; t < list.ids.size(); ++t) {
      const LatentId id = list.ids[t] < 0 ? ~list.ids[t] : list.ids[t];
      const int32_t owner = prices_.cheapest_owner(id);
      if (owner >= 0) wanted.emplace_back(list.scores[t] - prices_.of(id), owner);
    }
    const size_t most = std::min<size_t>(kWanted, wanted.size());
    std::partial_sort(wanted.begin(), wanted.begin() + most, wanted.end(), std::greater<>());
    for (size_t t = 0; t < most; ++t) {
      const int32_t owner = wanted[t].second;
      if (std::find(chain.begin(), chain.end(), owner) != chain.end()) continue;
      chain.push_back(owner);
      Choice choice;
      if (!look(owner, true, choice)) again.push_back(owner);
      if (again.size() == kFewSearched) return;
    }
  }
}

// Lists that are used up again and again are too short, as in clusters that have more latents.
void Auction::lengthen() {
  if (searched_ < kSearchesALength * std::ssize(sources_) || 2 * lists_.depth() > longest_) return;
  lists_.deepen(2 * lists_.depth());
  searched_ = 0;
}

// A longer list costs less than scores of all.
bool Auction::longer_fits() const {
  return kLonger * lists_.depth() * kScoredAsFast < distinct_.count();
}

bool Auction::bounds_help() const {
  return tried_ < static_cast<int64_t>(kFewSearched) || 4 * failed_ < tried_;
}

void Auction::judge_bounds(int64_t asked, int64_t failed) {
  tried_ += asked;
  failed_ += failed;
  if (!bounds_help() && search_.refine()) tried_ = failed_ = 0;
}

void Auction::look_at(std::span<const int32_t> sources, bool second_too,
                      std::vector<Choice>& choices, std::vector<uint8_t>& sure) {
  const auto some = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      if (!sure[i]) sure[i] = look(sources[i], second_too, choices[i]);
    }
  };
  const int64_t n = std::ssize(sources);
  if (n < kBiddersWorthSharing) {
    some(0, n, 0);
  } else {
    parallel_.run(n, 256, some);
  }
}

// The best latents of some sources, searching for those whose lists are used up.
void Auction::choose(std::span<const int32_t> sources, bool second_too,
                     std::vector<Choice>& choices) {
  PhaseTimer timer(stats_.seconds.choose);  // searches too
  const int64_t n = std::ssize(sources);
  choices.resize(n);
  std::vector<uint8_t> sure(n);
  look_at(sources, second_too, choices, sure);
  std::vector<int32_t> again;
  const auto collect = [&] {
    again.clear();
    for (int64_t i = 0; i < n; ++i) {
      if (!sure[i]) again.push_back(sources[i]);
    }
    return std::ssize(again);
  };
  for (const Effort effort : {Effort::usual, Effort::longer, Effort::all}) {
    if (effort == Effort::longer && !(longer_fits() && bounds_help())) continue;
    const int64_t asked = collect();
    if (asked == 0) return;
    if (effort == Effort::all) stats_.full_scans += asked;
    if (effort == Effort::usual) {
      lengthen();
      add_likely(again);
    }
    rescan(again, effort);
    look_at(sources, second_too, choices, sure);
    if (effort == (longer_fits() ? Effort::longer : Effort::usual)) judge_bounds(asked, collect());
  }
  if (std::find(sure.begin(), sure.end(), 0) != sure.end()) {
    throw std::logic_error("an exact search did not certify the best latents of a source");
  }
}

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
  choose(placed, false, choices);
  for (size_t k = 0; k < placed.size(); ++k) {
    const int32_t i = placed[k];
    const LatentId id = holds_[i];
    if (exact_score(i, id) - prices_.of(id) >= choices[k].best - epsilon_) continue;
    prices_.release(id, i);
    holds_[i] = -1;
    waiting_.push_back(i);
  }
  std::sort(waiting_.begin(), waiting_.end());
  const std::vector<LatentId> freed = spares_.held();
  spares_.drop();
  search_.raised(freed);  // the last time that they are known to have followed the level
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
    int64_t price;
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
    choose(std::span(waiting_).first(count), true, choices);
    PhaseTimer timer(stats_.seconds.sell);
    bids.clear();
    for (size_t k = 0; k < count; ++k) {
      const Choice& c = choices[k];
      const int64_t second = c.second == kNothing ? c.best : c.second;
      const int64_t price = prices_.of(c.id) + (c.best - second) + epsilon_;
      if (price > kLargestPrice) throw std::logic_error("prices left their range");
      bids.push_back({c.id, waiting_[k], price});
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
      if (raised.empty() || raised.back() != b.id) raised.push_back(b.id);
      ++winners;
    }
    std::sort(still.begin(), still.end());
    waiting_.swap(still);
    bidders_ = std::max(kFewestBidders, 4 * winners);
    ++stats_.rounds;
    stats_.bids += std::ssize(bids);
    search_.raised(raised);
    on_round(std::ssize(holds_) - std::ssize(waiting_));
  }
}

std::vector<Auction::Choice> Auction::choices_of_all() {
  std::vector<int32_t> all(holds_.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<Choice> choices;
  choose(all, false, choices);
  return choices;
}

std::vector<Auction::Favourite> Auction::favourites() {
  const std::vector<Choice> choices = choices_of_all();
  std::vector<Favourite> favourites(choices.size());
  for (size_t i = 0; i < choices.size(); ++i) favourites[i] = {choices[i].id, choices[i].best};
  return favourites;
}

// The duality gap: how much more the sources could have at these prices, in all.
void Auction::measure() {
  PhaseTimer timer(stats_.seconds.measure);
  const std::vector<Choice> choices = choices_of_all();
  primal_ = 0.0;
  gap_ = spares_.gap();
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    const int64_t score = exact_score(i, holds_[i]);
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
  const int64_t n = std::ssize(sources_);
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
    primal.add(exact_score(i, holds_[i]) - prices_.at_start(holds_[i]));
    ++held;
  }
  return moment -
         primal.rounded() * static_cast<double>(std::ssize(holds_)) / static_cast<double>(held);
}

void Auction::run_coarsely(int64_t epsilon, int64_t last) {
  for (epsilon_ = epsilon;; begin_next_phase()) {
    phase(std::ssize(sources_) >> kCutBits, [](int64_t) {});
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
  for (int32_t i = 0; i < std::ssize(holds_); ++i) {
    if (holds_[i] < 0) waiting_.push_back(i);
  }
}

}  // namespace gtn
