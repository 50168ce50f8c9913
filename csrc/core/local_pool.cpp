#include "core/local_pool.hpp"

#include <algorithm>
#include <numeric>

namespace gtn {

LocalPool::LocalPool(const Scorer& scorer, FreeLatents& free, int64_t cone,
                     const ShortlistFactory& make_shortlist, Parallel& parallel, Stats& stats)
    : scorer_(scorer),
      free_(free),
      cone_(cone),
      parallel_(parallel),
      stats_(stats),
      searcher_(scorer, free, make_shortlist, parallel, stats) {}

void LocalPool::open(std::span<const Query> queries, int64_t depth) {
  const size_t count = queries.size();
  queries_.assign(queries.begin(), queries.end());
  depth_ = depth;
  full_scans_ = 0;
  lists_.resize(std::max(lists_.size(), count));
  decisions_.assign(count, {});
  Shortlist& shortlist = searcher_.current(queries_);
  {
    PhaseTimer timer(stats_.seconds.search);
    shortlist.search(queries_, depth_, true, std::span(lists_).first(count));
  }
  PhaseTimer timer(stats_.seconds.decide);
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  decide_all(all);
  retry_uncertified();
}

void LocalPool::decide_all(const std::vector<size_t>& which) {
  std::vector<int64_t> rescored(parallel_.threads(), 0);
  std::vector<int64_t> listed(rescored.size(), 0);
  parallel_.run(std::ssize(which), 16, [&](int64_t begin, int64_t end, int thread) {
    int64_t scores = 0;
    for (int64_t at = begin; at < end; ++at) {
      const size_t i = which[at];
      listed[thread] += std::ssize(lists_[i].items);
      decisions_[i] = decide(scorer_, free_, queries_[i].source_row, cone_, lists_[i], scores);
    }
    rescored[thread] += scores;
  });
  stats_.rescored += std::accumulate(rescored.begin(), rescored.end(), int64_t{0});
  stats_.candidates += std::accumulate(listed.begin(), listed.end(), int64_t{0});
}

// Sources whose list cannot certify even their best latent: search once more from the score already
// found, then score everything.
void LocalPool::retry_uncertified() {
  for (const bool full : {false, true}) {
    std::vector<size_t> which;
    std::vector<Query> queries;
    for (size_t i = 0; i < queries_.size(); ++i) {
      if (decisions_[i].certified) continue;
      which.push_back(i);
      queries.push_back(queries_[i]);
      queries.back().floor = decisions_[i].floor;
    }
    if (which.empty()) return;
    (full ? full_scans_ : stats_.retries) += std::ssize(which);
    Shortlist& shortlist = full ? searcher_.exact() : searcher_.current(queries);
    std::vector<CandidateList> lists(which.size());
    shortlist.search(queries, depth_, false, lists);
    for (size_t j = 0; j < which.size(); ++j) lists_[which[j]] = std::move(lists[j]);
    decide_all(which);
  }
  for (const Decision& d : decisions_) require_certified(d);
}

Pool::Taken LocalPool::take(size_t i) {
  Decision d = decisions_[i];
  Taken taken{};
  // With cone 1 the first decision stands unless the very latent was taken since: others taken
  // only remove competitors. With a larger cone any of the k best matters.
  taken.conflict = !free_.is_free(d.id) || free_.rank(d.id) != d.rank;
  if (taken.conflict || (cone_ > 1 && i > 0)) {
    d = decide(scorer_, free_, queries_[i].source_row, cone_, lists_[i], stats_.rescored);
    taken.searched = !d.certified;
    if (d.certified) {
      taken.passed = taken_above(lists_[i], d.score);
    } else {
      queries_[i].floor = d.floor;
      d = searcher_.choose(queries_[i], depth_, cone_, lists_[i], full_scans_);
    }
  }
  taken.latent = free_.distinct().row_of_rank(searcher_.take(d.id));
  taken.score = d.score;
  return taken;
}

// Counts the taken latents of the list whose upper bound beats the score.
int32_t LocalPool::taken_above(const CandidateList& list, double score) const {
  int32_t taken = 0;
  for (const Candidate& c : list.items) taken += c.upper > score && !free_.is_free(c.id);
  return taken;
}

void LocalPool::close() {
  PhaseTimer timer(stats_.seconds.remove);
  searcher_.flush_removals();
  stats_.full_scans += full_scans_;
  if (searcher_.from_backend() && 2 * full_scans_ > std::ssize(queries_)) {
    searcher_.give_up_backend();
  }
}

}  // namespace gtn
