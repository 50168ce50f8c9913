#include "core/greedy.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace gtn {
namespace {
constexpr int64_t kLargestWindow = 1024;
constexpr int64_t kFirstWindow = 128;  // learns what lists are good for here
constexpr int64_t kSmallestWindow = 32;
constexpr int64_t kDeepest = 256;  // longer lists cost more than smaller windows
// Best latents a list should certify: spare ones beyond the cone serve conflicts inside a window.
constexpr int64_t base_depth(int64_t cone) {
  return cone + cone / 2 + 3;
}
}  // namespace

struct Greedy::Window {
  int64_t begin = 0;  // position of the first source in visiting order
  std::vector<Query> queries;
  std::vector<CandidateList> lists;
  std::vector<Decision> decisions;  // at the start of the window
  int64_t decided = 0, conflicts = 0, rescans = 0, full_scans = 0;
  std::vector<int32_t> lost;  // per conflict: better latents of its list that others had taken
};

Greedy::Greedy(const Scorer& scorer, FreeLatents& free, const std::vector<double>& source_norms,
               int64_t cone, const ShortlistFactory& make_shortlist, Parallel& parallel,
               Stats& stats)
    : scorer_(scorer),
      free_(free),
      source_norms_(source_norms),
      cone_(cone),
      parallel_(parallel),
      stats_(stats),
      searcher_(scorer, free, make_shortlist, parallel, stats),
      depth_(base_depth(cone)),
      window_limit_(kLargestWindow) {}

int64_t Greedy::window_size() const {
  // Conflicts grow with the share of the free latents that a window takes.
  const int64_t most = stats_.windows == 0 ? kFirstWindow : window_limit_;
  return std::clamp<int64_t>(free_.ids() / 16, kSmallestWindow, most);
}

void Greedy::run(std::span<const SourceRow> sources, int64_t start, OnPair on_pair,
                 FunctionRef<void(int64_t)> on_window) {
  const int64_t n = std::ssize(sources);
  Window w;
  for (w.begin = start; w.begin < n;) {
    const int64_t size = std::min(window_size(), n - w.begin);
    w.queries.clear();
    for (int64_t i = 0; i < size; ++i) {
      const int32_t row = sources[w.begin + i];
      w.queries.push_back({row, source_norms_[row]});
    }
    fill(w);
    walk(w, on_pair);
    {
      PhaseTimer timer(stats_.seconds.remove);
      searcher_.flush_removals();
    }
    stats_.conflicts += w.conflicts;
    stats_.rescans += w.rescans;
    stats_.full_scans += w.full_scans;
    adapt(w);
    ++stats_.windows;
    w.begin += w.decided;
    on_window(w.begin);
    parallel_.poll_if_due();
  }
}

void Greedy::fill(Window& w) {
  const size_t count = w.queries.size();
  w.lists.resize(std::max(w.lists.size(), count));
  w.decisions.assign(count, {});
  w.full_scans = 0;
  Shortlist& shortlist = searcher_.current(w.queries);
  {
    PhaseTimer timer(stats_.seconds.search);
    shortlist.search(w.queries, depth_, true, std::span(w.lists).first(count));
  }
  PhaseTimer timer(stats_.seconds.decide);
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  decide_all(w, all);
  retry_uncertified(w);
}

void Greedy::decide_all(Window& w, const std::vector<size_t>& which) {
  std::vector<int64_t> rescored(parallel_.threads(), 0);
  std::vector<int64_t> listed(rescored.size(), 0);
  parallel_.run(std::ssize(which), 16, [&](int64_t begin, int64_t end, int thread) {
    int64_t scores = 0;
    for (int64_t at = begin; at < end; ++at) {
      const size_t i = which[at];
      listed[thread] += std::ssize(w.lists[i].items);
      w.decisions[i] = decide(scorer_, free_, w.queries[i].source_row, cone_, w.lists[i], scores);
    }
    rescored[thread] += scores;
  });
  stats_.rescored += std::accumulate(rescored.begin(), rescored.end(), int64_t{0});
  stats_.candidates += std::accumulate(listed.begin(), listed.end(), int64_t{0});
}

// Sources whose list cannot certify even their best latent: search once more from the score already
// found, then score everything.
void Greedy::retry_uncertified(Window& w) {
  for (const bool full : {false, true}) {
    std::vector<size_t> which;
    std::vector<Query> queries;
    for (size_t i = 0; i < w.queries.size(); ++i) {
      if (w.decisions[i].certified) continue;
      which.push_back(i);
      queries.push_back(w.queries[i]);
      queries.back().floor = w.decisions[i].floor;
    }
    if (which.empty()) return;
    (full ? w.full_scans : stats_.retries) += std::ssize(which);
    Shortlist& shortlist = full ? searcher_.exact() : searcher_.current(queries);
    std::vector<CandidateList> lists(which.size());
    shortlist.search(queries, depth_, false, lists);
    for (size_t j = 0; j < which.size(); ++j) w.lists[which[j]] = std::move(lists[j]);
    decide_all(w, which);
  }
  for (const Decision& d : w.decisions) require_certified(d);
}

void Greedy::walk(Window& w, OnPair on_pair) {
  PhaseTimer timer(stats_.seconds.walk);
  w.conflicts = w.rescans = w.decided = 0;
  w.lost.clear();
  // Past this, lists are too short for the conflicts of the window: the rest starts a new one.
  const int64_t size = std::ssize(w.queries);
  const bool cheap = searcher_.cheap_alone();
  const int64_t most_rescans = cheap ? size : 8 + size / 32;
  for (size_t i = 0; i < w.queries.size(); ++i) {
    Decision d = w.decisions[i];
    // With cone 1 the first decision stands unless the very latent was taken since: others taken
    // only remove competitors. With a larger cone any of the k best matters.
    const bool lost = !free_.is_free(d.id) || free_.rank(d.id) != d.rank;
    w.conflicts += lost;
    if (lost || (cone_ > 1 && i > 0)) {
      d = decide(scorer_, free_, w.queries[i].source_row, cone_, w.lists[i], stats_.rescored);
      if (d.certified) {
        w.lost.push_back(taken_above(w.lists[i], d.score));
      } else {
        w.queries[i].floor = d.floor;
        d = search_again(w, i);
      }
    }
    const Rank rank = searcher_.take(d.id);
    on_pair(w.begin + w.decided++, rank, d.score);
    if (w.rescans > most_rescans) break;
  }
}

// Counts the taken latents of the list whose upper bound beats the score.
int32_t Greedy::taken_above(const CandidateList& list, double score) const {
  int32_t taken = 0;
  for (const Candidate& c : list.items) taken += c.upper > score && !free_.is_free(c.id);
  return taken;
}

Decision Greedy::search_again(Window& w, size_t i) {
  ++w.rescans;
  return searcher_.choose(w.queries[i], depth_, cone_, w.lists[i], w.full_scans);
}

// Sources that ask for the same latents (equal sources, hubs, sources that see the latents from one
// side) exhaust their lists inside a window: longer lists, then smaller windows, until rescans are
// rare. Both relax only when conflicts do, or they would swing.
void Greedy::adapt(Window& w) {
  const int64_t size = std::ssize(w.queries);
  if (searcher_.from_backend() && 2 * w.full_scans > size) searcher_.give_up_backend();
  if (searcher_.cheap_alone()) {
    // Longer lists are not worth it: smaller windows are, once threads wait for the walk.
    if (4 * w.rescans > size) {
      window_limit_ = std::max(kSmallestWindow, std::min(window_limit_, size) / 2);
    } else if (8 * w.rescans < size) {
      window_limit_ = std::min(kLargestWindow, window_limit_ + window_limit_ / 8);
    }
    return;
  }
  // In one dimension a list costs as much as a search, and a search little.
  const int64_t deepest = scorer_.latents().dim == 1
                              ? base_depth(cone_)
                              : std::min(kDeepest + cone_, base_depth(cone_) + size);
  const int64_t bearable = 1 + size / 64;  // rescans
  if (w.rescans > bearable) {
    if (depth_ < deepest) {
      depth_ = std::min(2 * depth_, deepest);
    } else {
      window_limit_ = std::max(kSmallestWindow, std::min(window_limit_, size) / 2);
    }
    return;
  }
  // As deep as all but a bearable number of sources needed.
  const size_t spared = bearable - w.rescans;
  int64_t needed = base_depth(cone_);
  if (w.lost.size() > spared) {
    const auto at = w.lost.begin() + spared;
    std::nth_element(w.lost.begin(), at, w.lost.end(), std::greater<>());
    needed = std::max(needed, cone_ + *at + *at / 2 + 1);
  }
  if (needed < depth_) depth_ -= std::max<int64_t>(1, (depth_ - needed) / 4);
  if (w.rescans == 0 || 2 * depth_ < deepest) {
    window_limit_ = std::min(kLargestWindow, window_limit_ + window_limit_ / 8);
  }
}

}  // namespace gtn
