#include "core/searcher.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/exact_scan.hpp"
#include "core/line_scan.hpp"

namespace gtn {
namespace {

// With so few free ids left, scoring all of them exactly is cheaper than codes and windows.
constexpr int32_t kFewIds = 192;

}  // namespace

void require_certified(const Decision& decision) {
  if (!decision.certified) {
    throw std::logic_error("an exact search did not certify its best latent");
  }
}

Searcher::Searcher(const Scorer& scorer, FreeLatents& free, const ShortlistFactory& make_shortlist,
                   Parallel& parallel, Stats& stats)
    : scorer_(scorer),
      free_(free),
      make_shortlist_(make_shortlist),
      parallel_(parallel),
      stats_(stats) {}

Rank Searcher::take(LatentId id) {
  const Rank rank = free_.take(id);
  if (!free_.is_free(id)) exhausted_.push_back(id);
  return rank;
}

Shortlist& Searcher::exact() {
  flush_removals();
  if (!exact_) {
    if (scorer_.latents().dim == 1) {
      exact_ = std::make_unique<LineScan>(scorer_, free_, parallel_);
    } else {
      exact_ = std::make_unique<ExactScan>(scorer_, free_, parallel_);
    }
  }
  return *exact_;
}

Shortlist& Searcher::current(std::span<const Query> queries) {
  if (free_.ids() <= kFewIds || scorer_.latents().dim == 1 || hopeless_) {
    shortlist_.reset();
    return exact();
  }
  flush_removals();
  if (!shortlist_) {
    PhaseTimer timer(stats_.seconds.encode);
    shortlist_ = make_shortlist_(free_, queries);
  }
  note_shortlist();
  return *shortlist_;
}

Decision Searcher::choose(Query query, int64_t depth, int64_t cone, CandidateList& list,
                          int64_t& full_scans) {
  const std::span<const Query> alone(&query, 1);
  current(alone).search(alone, depth, false, {&list, 1});
  Decision d = decide(scorer_, free_, query.source_row, cone, list, stats_.rescored);
  if (!d.certified) {
    ++full_scans;
    query.floor = d.floor;
    exact().search(alone, depth, false, {&list, 1});
    d = decide(scorer_, free_, query.source_row, cone, list, stats_.rescored);
    require_certified(d);
  }
  return d;
}

// Notes the arithmetic and the memory of the last search.
void Searcher::note_shortlist() {
  Stats now;
  shortlist_->describe(now);
  stats_.work_bytes = std::max(stats_.work_bytes, now.work_bytes);
  if (stats_.arithmetic.find(now.arithmetic) != std::string::npos) return;
  stats_.arithmetic += (stats_.arithmetic.empty() ? "" : "+") + now.arithmetic;
}

void Searcher::flush_removals() {
  if (exhausted_.empty()) return;
  if (shortlist_) shortlist_->remove(exhausted_);
  if (exact_) exact_->remove(exhausted_);
  exhausted_.clear();
}

}  // namespace gtn
