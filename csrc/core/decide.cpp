#include "core/decide.hpp"

#include <algorithm>
#include <cmath>

namespace gtn {
namespace {

bool is_exact(const Candidate& c) {
  return !std::isnan(c.score);
}
double upper(const Candidate& c) {
  return is_exact(c) ? c.score : c.upper;
}
double lower(const Candidate& c) {
  return is_exact(c) ? c.score : c.lower;
}
// An object, not a function, so that algorithms inline it.
constexpr auto higher = [](const Candidate& a, const Candidate& b) { return upper(a) > upper(b); };

class Decider {
 public:
  Decider(const Scorer& scorer, const FreeLatents& free, SourceRow source_row, CandidateList& list,
          int64_t& rescored)
      : scorer_(scorer), free_(free), source_(source_row), list_(list), rescored_(rescored) {}

  Decision best();
  Decision lowest_rank_of(int64_t cone);

 private:
  using Items = std::vector<Candidate>::iterator;

  // Exact scores for the candidates of [begin, end) for which `wanted` holds.
  template <class Wanted>
  void rescore(Items begin, Items end, Wanted wanted);
  void rescore(Candidate& c);
  void consider(const Candidate& c, Decision& d) const;
  bool lead(int64_t k);
  double kth_score(int64_t k, double sure);
  bool certifies(double score, Rank rank) const {
    return score > list_.outside || (score == list_.outside && rank <= list_.outside_rank);
  }

  const Scorer& scorer_;
  const FreeLatents& free_;
  SourceRow source_;
  CandidateList& list_;
  int64_t& rescored_;
};

void Decider::rescore(Candidate& c) {
  const DistinctLatents& d = free_.distinct();
  c.score = scorer_.score(d.row(c.id), d.norm(c.id), source_);
  ++rescored_;
}

template <class Wanted>
void Decider::rescore(Items begin, Items end, Wanted wanted) {
  constexpr int kBatch = 32;
  const DistinctLatents& distinct = free_.distinct();
  Candidate* candidates[kBatch];
  const void* rows[kBatch];
  double dots[kBatch];
  int count = 0;
  const auto flush = [&] {
    scorer_.dots(rows, count, source_, dots);
    for (int i = 0; i < count; ++i)
      candidates[i]->score = dots[i] / distinct.norm(candidates[i]->id);
    rescored_ += count;
    count = 0;
  };
  for (Items c = begin; c != end; ++c) {
    if (is_exact(*c) || !wanted(*c)) continue;
    candidates[count] = &*c;
    rows[count++] = scorer_.latent(distinct.row(c->id));
    if (count == kBatch) flush();
  }
  if (count > 0) flush();
}

// Takes the free latent c for the choice if it is better.
void Decider::consider(const Candidate& c, Decision& d) const {
  if (c.score < d.score) return;
  const Rank rank = free_.rank(c.id);
  if (c.score > d.score || d.id < 0 || rank < d.rank) {
    d.id = c.id;
    d.score = c.score;
    d.rank = rank;
  }
}

Decision Decider::best() {
  Decision d;
  Candidate* top = nullptr;
  for (Candidate& c : list_.items) {
    if (!free_.is_free(c.id)) continue;
    if (is_exact(c)) {
      consider(c, d);
    } else if (!top || c.upper > top->upper) {
      top = &c;
    }
  }
  if (top && top->upper >= d.score) {
    rescore(*top);
    consider(*top, d);
    const auto within_reach = [&](const Candidate& c) {
      return c.upper >= d.score && free_.is_free(c.id);
    };
    const double threshold = d.score;
    rescore(list_.items.begin(), list_.items.end(), within_reach);
    for (const Candidate& c : list_.items) {
      if (c.upper >= threshold && is_exact(c) && free_.is_free(c.id)) consider(c, d);
    }
  }
  d.floor = d.score;
  d.certified = d.id >= 0 && certifies(d.score, d.rank);
  return d;
}

// Moves the free candidates of largest bound to the front, until they have k members. False if
// there are not so many. What led before and is still free does so again: the others follow.
bool Decider::lead(int64_t k) {
  auto& items = list_.items;
  const auto is_free = [&](const Candidate& c) { return free_.is_free(c.id); };
  const auto begin = items.begin();
  const auto led = std::partition(begin, begin + list_.leading, is_free);
  list_.leading = 0;
  if (free_.distinct().all_different()) {
    if (k > std::ssize(items)) return false;
    const auto last = begin + k - 1;  // of those that lead
    if (led > last) {
      // Near the end of a run k falls with the number of free latents.
      if (led - begin > k) std::nth_element(begin, last, led, higher);
    } else {
      const auto free_end = std::partition(led, items.end(), is_free);
      if (free_end <= last) return false;
      std::nth_element(led, last, free_end, higher);
    }
    list_.leading = k;
    return true;
  }
  const auto free_end = std::partition(begin, items.end(), is_free);
  std::sort(begin, free_end, higher);
  int64_t members = 0;
  for (auto c = begin; c != free_end && members < k; ++c, ++list_.leading) {
    members += free_.remaining(c->id);
  }
  return members >= k;
}

// The k-th largest score, each member counted, where all that do not reach `sure` for certain and
// may matter are rescored.
double Decider::kth_score(int64_t k, double sure) {
  std::vector<std::pair<double, int32_t>> scores;
  for (const Candidate& c : list_.items) {
    if (lower(c) >= sure && free_.is_free(c.id)) {
      k -= free_.remaining(c.id);
    } else if (is_exact(c) && free_.is_free(c.id)) {
      scores.emplace_back(c.score, free_.remaining(c.id));
    }
  }
  if (k <= 0) return sure;
  std::sort(scores.begin(), scores.end(), std::greater<>());
  for (const auto& [score, members] : scores) {
    k -= members;
    if (k <= 0) return score;
  }
  return -kInfinity;
}

// Among the k free latents of largest score (ties by rank) the one of lowest rank is the lowest
// rank among all that reach the k-th largest score: of those tied at that score the lowest rank is
// in. Most latents are known to be in or out by their bounds; exact scores are needed only where
// one that may be either ranks below all that are in.
Decision Decider::lowest_rank_of(int64_t cone) {
  const int64_t k = std::min(cone, free_.count());
  auto& items = list_.items;
  Decision d;
  const auto bounds = [&](double& least_upper, double& least_lower) {
    least_upper = least_lower = kInfinity;
    for (size_t i = 0; i < list_.leading; ++i) {
      least_upper = std::min(least_upper, upper(items[i]));
      least_lower = std::min(least_lower, lower(items[i]));
    }
  };
  if (!lead(k)) return d;
  // The k-th largest score lies between these.
  double most = kInfinity, least = -kInfinity;
  bounds(most, least);
  if (least == -kInfinity) {  // a shortlist without lower bounds: make them exact
    const auto blind = [&](const Candidate& c) {
      return c.lower == -kInfinity && upper(c) >= least && free_.is_free(c.id);
    };
    rescore(items.begin(), items.begin() + list_.leading, blind);
    bounds(most, least);
    rescore(items.begin(), items.end(), blind);
    list_.leading = 0;
    if (!lead(k)) return d;
    bounds(most, least);
  }

  const auto lowest = [&](double threshold) {
    d.id = -1;
    for (const Candidate& c : items) {
      if (lower(c) < threshold || !free_.is_free(c.id)) continue;
      const Rank rank = free_.rank(c.id);
      if (d.id < 0 || rank < d.rank) {
        d.id = c.id;
        d.rank = rank;
      }
    }
  };
  const auto unsure = [&](const Candidate& c) {
    return lower(c) < most && upper(c) >= least && free_.is_free(c.id);
  };
  lowest(most);
  d.floor = least;
  bool settled = d.id >= 0 && least > list_.outside;
  for (size_t i = 0; i < items.size() && settled; ++i) {
    settled = !unsure(items[i]) || free_.rank(items[i].id) > d.rank;
  }
  if (!settled) {
    rescore(items.begin(), items.end(), unsure);
    list_.leading = 0;  // bounds became scores: the order is another
    d.floor = kth_score(k, most);
    lowest(d.floor);
  }
  if (d.id < 0) return d;
  const auto choice =
      std::find_if(items.begin(), items.end(), [&](const Candidate& c) { return c.id == d.id; });
  if (!is_exact(*choice)) rescore(*choice);
  d.score = choice->score;
  d.certified = settled || certifies(d.floor, d.rank);
  return d;
}

}  // namespace

Decision decide(const Scorer& scorer, const FreeLatents& free, SourceRow source_row, int64_t cone,
                CandidateList& list, int64_t& rescored) {
  Decider decider(scorer, free, source_row, list, rescored);
  return cone == 1 ? decider.best() : decider.lowest_rank_of(cone);
}

}  // namespace gtn
