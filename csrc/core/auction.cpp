#include "core/auction.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

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
constexpr int64_t kCutPhases = 6;
constexpr int64_t kFewestBidders = 64;

// Lists of a search take thrice the memory that they have here, so searches are no larger.
constexpr size_t kListedAtOnce = 4096;

// Rounds with fewer bidders are over before other threads have woken.
constexpr int64_t kBiddersWorthSharing = 512;

}  // namespace

Auction::Auction(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                 std::span<const SourceRow> sources, Prices& prices, PricedSearch& search,
                 PricedSearch& exact, int64_t depth, Parallel& parallel, AuctionStats& stats)
    : scorer_(scorer),
      grid_(grid),
      distinct_(distinct),
      sources_(sources),
      prices_(prices),
      spares_(prices, std::max<int64_t>(0, distinct.latents() - std::ssize(sources))),
      search_(search),
      exact_(exact),
      depth_(std::min<int64_t>(depth, distinct.count())),
      parallel_(parallel),
      stats_(stats) {
  const size_t n = sources.size();
  holds_.assign(n, -1);
  told_level_ = prices.level();
  ids_.resize(n * depth_);
  scores_.resize(n * depth_);
  length_.assign(n, 0);
  outside_.assign(n, INT64_MAX / 4);
  outside_id_.assign(n, -1);
}

int64_t Auction::exact_score(int32_t source, LatentId id) const {
  return grid_.of(scorer_.score(distinct_.row(id), 1.0, sources_[source]));
}

bool Auction::look(int32_t source, bool second_too, Choice& choice) {
  Choice c;
  int32_t* ids = &ids_[source * depth_];
  int64_t* scores = &scores_[source * depth_];
  for (int32_t t = 0; t < length_[source]; ++t) {
    LatentId id = ids[t] < 0 ? ~ids[t] : ids[t];
    int64_t value = scores[t] - prices_.of(id);
    if (value < c.second) continue;
    if (ids[t] < 0) {
      scores[t] = exact_score(source, id);
      ids[t] = id;
      value = scores[t] - prices_.of(id);
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
  const int64_t outside = outside_[source];
  if (second_too && c.second < outside) return false;
  return c.best > outside || (c.best == outside && c.id <= outside_id_[source]);
}

void Auction::rescan(std::span<const int32_t> sources, PricedSearch& search) {
  PhaseTimer timer(stats_.seconds.search);
  std::vector<SourceRow> rows(sources.size());
  std::vector<int64_t> before(sources.size(), kNothing);
  for (size_t i = 0; i < sources.size(); ++i) {
    rows[i] = sources_[sources[i]];
    if (length_[sources[i]] > 0) before[i] = outside_[sources[i]];
  }
  std::vector<PricedList> lists(sources.size());
  if (prices_.level() > told_level_) {  // in the eyes of the search, prices may lag behind
    told_level_ = prices_.level();
    const std::vector<LatentId> held = spares_.held();
    search_.raised(held);
  }
  search.search(rows, before, depth_, lists);
  stats_.scans += std::ssize(sources);
  ++stats_.batches;
  for (size_t i = 0; i < sources.size(); ++i) {
    const int32_t s = sources[i];
    const PricedList& list = lists[i];
    const size_t length = std::min<size_t>(list.items.size(), depth_);
    length_[s] = static_cast<int32_t>(length);
    outside_[s] = list.outside;
    outside_id_[s] = list.outside_id;
    for (size_t t = 0; t < length; ++t) {
      const PricedCandidate& c = list.items[t];
      ids_[s * depth_ + t] = c.exact ? c.id : ~c.id;
      scores_[s * depth_ + t] = c.score;
    }
  }
}

// The best latents of some sources, searching for those whose lists are used up.
void Auction::choose(std::span<const int32_t> sources, bool second_too,
                     std::vector<Choice>& choices) {
  PhaseTimer timer(stats_.seconds.choose);  // searches too
  const int64_t n = std::ssize(sources);
  choices.resize(n);
  std::vector<uint8_t> sure(n);
  const auto look_at = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) sure[i] = look(sources[i], second_too, choices[i]);
  };
  if (n < kBiddersWorthSharing) {
    look_at(0, n, 0);
  } else {
    parallel_.run(n, 256, look_at);
  }
  std::vector<int32_t> again;
  for (PricedSearch* search : {&search_, &exact_}) {
    again.clear();
    for (int64_t i = 0; i < n; ++i) {
      if (!sure[i]) again.push_back(sources[i]);
    }
    if (again.empty()) return;
    if (search == &exact_) stats_.full_scans += std::ssize(again);
    for (size_t from = 0; from < again.size(); from += kListedAtOnce) {
      rescan(std::span(again).subspan(from, std::min(kListedAtOnce, again.size() - from)), *search);
    }
    for (int64_t i = 0; i < n; ++i) {
      if (!sure[i]) sure[i] = look(sources[i], second_too, choices[i]);
    }
  }
  if (std::find(sure.begin(), sure.end(), 0) != sure.end()) {
    throw std::logic_error("an exact search did not certify the best latents of a source");
  }
}

// Sources that would gain more than epsilon by another latent give theirs up.
void Auction::drop_unhappy() {
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
  spares_.drop();
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

std::vector<LatentId> Auction::favourites() {
  std::vector<int32_t> all(holds_.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<Choice> choices;
  choose(all, false, choices);
  std::vector<LatentId> ids(all.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = choices[i].id;
  return ids;
}

// The duality gap: how much more the sources could have at these prices, in all.
void Auction::measure() {
  PhaseTimer timer(stats_.seconds.measure);
  std::vector<int32_t> all(holds_.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<Choice> choices;
  choose(all, false, choices);
  primal_ = 0.0;
  gap_ = spares_.gap();
  for (const int32_t i : all) {
    const int64_t score = exact_score(i, holds_[i]);
    primal_ += static_cast<double>(score - prices_.at_start(holds_[i]));
    gap_ += static_cast<double>(choices[i].best - (score - prices_.of(holds_[i])));
  }
  measured_epsilon_ = epsilon_;
}

void Auction::run(int64_t epsilon, double tolerance, double moment,
                  FunctionRef<void(int64_t)> on_round) {
  const int64_t n = std::ssize(sources_);
  if (!begun()) epsilon_ = epsilon;
  tolerance_ = tolerance;
  moment_ = moment;
  for (;;) {
    // Every source ends within epsilon of its best.
    const bool enough = static_cast<double>(distinct_.latents()) * static_cast<double>(epsilon_) <=
                        tolerance * moment;
    const bool last = epsilon_ == 1;
    const int64_t earlier = phases_ - (bidders_ > 0);
    const bool cut = !last && !enough && earlier < kCutPhases;
    phase(cut ? n >> kCutBits : 0, on_round);
    if (last || enough) {
      measure();
      if (last || gap_ <= tolerance * (moment - primal_)) return;
    }
    epsilon_ = std::max<int64_t>(1, epsilon_ >> kRatioBits);
    bidders_ = 0;
  }
}

double Auction::relative_gap() const {
  return measured_epsilon_ > 0 && moment_ > primal_ ? gap_ / (moment_ - primal_) : -1.0;
}

// Until the first measurement the end is about where one is worth its time. Then gaps shrink about
// as epsilon does.
int64_t Auction::phases_expected() const {
  const double widest =
      measured_epsilon_ > 0
          ? tolerance_ * (moment_ - primal_) / gap_ * static_cast<double>(measured_epsilon_)
          : tolerance_ * moment_ / static_cast<double>(distinct_.latents());
  int64_t phases = phase_in_progress();
  for (int64_t e = epsilon_; e > 1 && static_cast<double>(e) > widest; e >>= kRatioBits) ++phases;
  return phases;
}

AuctionState Auction::state() const {
  AuctionState s{epsilon_, phases_, bidders_, prices_.level(), {}, {}};
  s.price.resize(distinct_.latents());
  s.owner.resize(distinct_.latents());
  prices_.members([&](Rank rank, int64_t price, int32_t owner) {
    s.price[rank.value] = price;
    s.owner[rank.value] = owner;
  });
  return s;
}

void Auction::restore(int64_t epsilon, int64_t phases, int64_t bidders) {
  epsilon_ = epsilon;
  phases_ = phases;
  bidders_ = bidders;
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
