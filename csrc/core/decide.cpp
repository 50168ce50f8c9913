// Implements decide.hpp.
#include "core/decide.hpp"

#include <algorithm>
#include <cmath>

namespace gtn {
namespace {

class Decider {
 public:
  Decider(const Scorer& scorer, const FreeLatents& free, int32_t source_row, CandidateList& list,
          int64_t& rescored)
      : scorer_(scorer), free_(free), source_(source_row), list_(list), rescored_(rescored) {}

  Decision best();
  Decision lowest_rank_of(int64_t cone);

 private:
  void rescore(Candidate& c) {
    const DistinctLatents& d = free_.distinct();
    c.score = scorer_.score(d.row(c.id), d.norm(c.id), source_);
    ++rescored_;
  }
  bool pending(const Candidate& c) const { return std::isnan(c.score) && free_.is_free(c.id); }
  // The pending candidate of largest upper bound, or null.
  Candidate* top_pending() {
    Candidate* top = nullptr;
    for (Candidate& c : list_.items) {
      if (pending(c) && (!top || c.upper > top->upper)) top = &c;
    }
    return top;
  }
  // Asks memory for the rows that the next pass will read.
  void prefetch(double from) const {
    for (const Candidate& c : list_.items) {
      if (c.upper >= from && pending(c)) scorer_.prefetch(free_.distinct().row(c.id));
    }
  }
  // The k-th largest score of free rescored latents, each member counted; -inf if there are fewer.
  double kth_score(int64_t k);
  static bool larger(const std::pair<double, int32_t>& a, const std::pair<double, int32_t>& b) {
    return a.first > b.first;
  }
  // The n-th largest value of scratch_, n >= 1.
  double nth_largest(size_t n) {
    const auto at = scratch_.begin() + static_cast<std::ptrdiff_t>(n - 1);
    std::nth_element(scratch_.begin(), at, scratch_.end(), larger);
    return at->first;
  }
  bool certifies(double score, int32_t rank) const {
    return score > list_.outside || (score == list_.outside && rank <= list_.outside_rank);
  }

  const Scorer& scorer_;
  const FreeLatents& free_;
  int32_t source_;
  CandidateList& list_;
  int64_t& rescored_;
  std::vector<std::pair<double, int32_t>> scratch_;  // score, free members
};

Decision Decider::best() {
  Decision d;
  const auto consider = [&](const Candidate& c) {
    if (c.score < d.score) return;
    const int32_t rank = free_.rank(c.id);
    if (c.score > d.score || d.id < 0 || rank < d.rank) {
      d.id = c.id;
      d.score = c.score;
      d.rank = rank;
    }
  };
  for (const Candidate& c : list_.items) {
    if (!std::isnan(c.score) && free_.is_free(c.id)) consider(c);
  }
  if (Candidate* top = top_pending(); top && top->upper >= d.score) {
    rescore(*top);
    consider(*top);
    prefetch(d.score);
    for (Candidate& c : list_.items) {
      if (c.upper >= d.score && pending(c)) {
        rescore(c);
        consider(c);
      }
    }
  }
  d.floor = d.score;
  d.certified = d.id >= 0 && certifies(d.score, d.rank);
  return d;
}

double Decider::kth_score(int64_t k) {
  scratch_.clear();
  int64_t members = 0;
  for (const Candidate& c : list_.items) {
    if (std::isnan(c.score) || !free_.is_free(c.id)) continue;
    scratch_.emplace_back(c.score, free_.remaining(c.id));
    members += scratch_.back().second;
  }
  if (members < k) return -kInfinity;
  if (members == static_cast<int64_t>(scratch_.size())) return nth_largest(static_cast<size_t>(k));
  std::sort(scratch_.begin(), scratch_.end(), larger);
  int64_t seen = 0;
  for (const auto& [score, count] : scratch_) {
    seen += count;
    if (seen >= k) return score;
  }
  return -kInfinity;
}

// Among the k free latents of largest score (ties by rank) the one of lowest rank is the lowest
// rank among all that reach the k-th largest score: of those tied at that score the lowest rank is
// in.
Decision Decider::lowest_rank_of(int64_t cone) {
  const int64_t k = std::min(cone, free_.count());
  double bar = kth_score(k);
  // Until k are known, rescore in the order of the bounds; then all that may reach the bar.
  while (bar == -kInfinity) {
    Candidate* top = top_pending();
    if (!top) break;
    // A batch at a time: everything within reach of the k-th best bound.
    scratch_.clear();
    for (const Candidate& c : list_.items) {
      if (pending(c)) scratch_.emplace_back(c.upper, free_.remaining(c.id));
    }
    const double reach = nth_largest(std::min(scratch_.size(), static_cast<size_t>(k)));
    prefetch(reach);
    for (Candidate& c : list_.items) {
      if (c.upper >= reach && pending(c)) rescore(c);
    }
    bar = kth_score(k);
  }
  if (bar > -kInfinity) {
    prefetch(bar);
    bool any = false;
    for (Candidate& c : list_.items) {
      if (c.upper < bar || !pending(c)) continue;
      rescore(c);
      any = true;
    }
    if (any) bar = kth_score(k);
  }
  Decision d;
  d.floor = bar;
  for (const Candidate& c : list_.items) {
    if (std::isnan(c.score) || c.score < bar || !free_.is_free(c.id)) continue;
    const int32_t rank = free_.rank(c.id);
    if (d.id < 0 || rank < d.rank) {
      d.id = c.id;
      d.score = c.score;
      d.rank = rank;
    }
  }
  d.certified = d.id >= 0 && bar > -kInfinity && certifies(bar, d.rank);
  return d;
}

}  // namespace

Decision decide(const Scorer& scorer, const FreeLatents& free, int32_t source_row, int64_t cone,
                CandidateList& list, int64_t& rescored) {
  Decider decider(scorer, free, source_row, list, rescored);
  return cone == 1 ? decider.best() : decider.lowest_rank_of(cone);
}

}  // namespace gtn
