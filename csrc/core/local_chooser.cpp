#include "core/local_chooser.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>

#include "core/stats.hpp"

namespace gtn {
namespace {

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

LocalChooser::LocalChooser(const Scorer& scorer, const ScoreGrid& grid,
                           const DistinctLatents& distinct, std::span<const SourceRow> sources,
                           PriceView prices, PricedSearch& search, ExactPricedScan& exact,
                           int64_t depth, int64_t longest, Parallel& parallel, AuctionStats& stats)
    : scorer_(scorer),
      grid_(grid),
      distinct_(distinct),
      sources_(sources),
      prices_(prices),
      search_(search),
      exact_(exact),
      parallel_(parallel),
      stats_(stats),
      told_level_(prices.level()),
      lists_(std::ssize(sources), std::min<int64_t>(depth, distinct.count())),
      longest_(std::min<int64_t>(longest, distinct.count())) {}

int64_t LocalChooser::exact_score(int32_t source, LatentId id) const {
  return grid_.of(scorer_.score(distinct_.row(id), 1.0, sources_[source]));
}

bool LocalChooser::look(int32_t source, bool second_too, Choice& choice) {
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
void LocalChooser::rescan(std::span<const int32_t> sources, Effort effort) {
  PhaseTimer timer(stats_.seconds.search);
  tell_level();
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

// In the eyes of the search, prices that follow the level may lag behind.
void LocalChooser::tell_level() {
  if (prices_.level() <= told_level_) return;
  told_level_ = prices_.level();
  std::vector<LatentId> held;
  for (LatentId id = 0; id < distinct_.count(); ++id) {
    if (prices_.cheapest_owner(id) == kSpare) held.push_back(id);
  }
  search_.raised(held);
}

// Adds sources that are likely to wait next and to be searched then: those that hold what these
// want, and so on. A search for a few costs as much as one for many.
void LocalChooser::add_likely(std::vector<int32_t>& again) {
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
void LocalChooser::lengthen() {
  if (searched_ < kSearchesALength * std::ssize(sources_) || 2 * lists_.depth() > longest_) return;
  lists_.deepen(2 * lists_.depth());
  searched_ = 0;
}

// A longer list costs less than scores of all.
bool LocalChooser::longer_fits() const {
  return kLonger * lists_.depth() * kScoredAsFast < distinct_.count();
}

bool LocalChooser::bounds_help() const {
  return tried_ < static_cast<int64_t>(kFewSearched) || 4 * failed_ < tried_;
}

void LocalChooser::judge_bounds(int64_t asked, int64_t failed) {
  tried_ += asked;
  failed_ += failed;
  if (!bounds_help() && search_.refine()) tried_ = failed_ = 0;
}

void LocalChooser::look_at(std::span<const int32_t> sources, bool second_too,
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
void LocalChooser::choose(std::span<const int32_t> sources, bool second_too,
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

std::vector<int64_t> LocalChooser::scores(std::span<const int32_t> sources,
                                          std::span<const LatentId> ids) {
  std::vector<int64_t> scores(sources.size());
  for (size_t i = 0; i < sources.size(); ++i) scores[i] = exact_score(sources[i], ids[i]);
  return scores;
}

}  // namespace gtn
