#include "core/host_shard.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "core/norms.hpp"

namespace gtn {
namespace {

constexpr size_t kBlock = 1024;  // sources of a search, as in the windows of one machine

std::vector<LatentRow> in_order(const std::vector<double>& norms, bool descending,
                                Parallel& parallel) {
  std::vector<LatentRow> rows(norms.size());
  std::iota(rows.begin(), rows.end(), 0);
  return sorted_by_norm(rows, norms, descending, parallel);
}

bool is_exact(const Candidate& c) {
  return !std::isnan(c.score);
}

}  // namespace

struct HostShard::Scratch {
  struct Listed {
    double score;
    Rank rank;
  };
  std::vector<Listed> best;
  std::vector<Candidate*> candidates;
  std::vector<const void*> rows;
  std::vector<double> dots;
};

HostShard::HostShard(const Rows& latents, std::span<const int64_t> index, Order order,
                     const Rows& sources, const ExactKernels& kernels, const Backend& backend,
                     Parallel& parallel, Stats& stats)
    : latents_(latents),
      index_(index),
      parallel_(parallel),
      descending_(order == Order::norm_desc),
      norms_(checked_norms(latents, parallel)),
      scorer_(latents, sources, kernels),
      distinct_(scorer_, in_order(norms_, descending_, parallel), norms_, parallel),
      free_(distinct_),
      backend_(backend),
      factory_([this](const FreeLatents& f, std::span<const Query> first) {
        return backend_(scorer_, f, first, parallel_);
      }),
      searcher_(scorer_, free_, factory_, parallel, stats),
      stats_(stats),
      id_of_row_(norms_.size()) {
  stats_.distinct += distinct_.count();
  for (LatentId id = 0; id < distinct_.count(); ++id) {
    for (int32_t j = 0; j < distinct_.members(id); ++j) {
      id_of_row_[distinct_.row_of_rank(distinct_.member(id, j))] = id;
    }
  }
}

void HostShard::search(std::span<const Query> queries, int64_t count, Key* out) {
  if (free_.count() == 0)
    std::fill(out, out + std::ssize(queries) * count, Key{.index = kNoOthers});
  if (free_.count() == 0) return;
  for (size_t at = 0; at < queries.size(); at += kBlock) {
    const size_t size = std::min(kBlock, queries.size() - at);
    search_block(queries.subspan(at, size), count, out + at * count);
  }
}

void HostShard::search_block(std::span<const Query> queries, int64_t count, Key* out) {
  struct Asked {
    Query query;
    size_t at;
    bool listed;
  };
  std::vector<Asked> asked;
  for (size_t i = 0; i < queries.size(); ++i) asked.push_back({queries[i], i, false});
  enum class Effort { guess, careful, exact };
  for (const Effort effort : {Effort::guess, Effort::careful, Effort::exact}) {
    std::vector<Query> open;
    for (const Asked& a : asked) open.push_back(a.query);
    std::vector<CandidateList> lists(open.size());
    const bool exact = effort == Effort::exact;
    Shortlist& shortlist = exact ? searcher_.exact() : searcher_.current(open);
    {
      PhaseTimer timer(stats_.seconds.search);
      shortlist.search(open, count, effort == Effort::guess, lists);
    }
    PhaseTimer timer(stats_.seconds.decide);
    parallel_.run(std::ssize(asked), 16, [&](int64_t begin, int64_t end, int) {
      Scratch scratch;
      for (int64_t i = begin; i < end; ++i) {
        Asked& a = asked[i];
        a.listed = list_best(a.query.source_row, lists[i], count, scratch, out + a.at * count,
                             a.query.floor);
      }
    });
    for (const CandidateList& list : lists) stats_.candidates += std::ssize(list.items);
    std::erase_if(asked, [](const Asked& a) { return a.listed; });
    if (asked.empty()) return;
    if (effort == Effort::guess) stats_.retries += std::ssize(asked);
    if (effort == Effort::careful) stats_.full_scans += std::ssize(asked);
  }
  throw std::logic_error("an exact search did not certify the best latents of a source");
}

// Exact scores, best bound first, until no other can be among the best. False if the list certifies
// too few; floor: a lower bound on the score of the last of them.
bool HostShard::list_best(SourceRow source, CandidateList& list, size_t count, Scratch& scratch,
                          Key* out, double& floor) const {
  auto& items = list.items;
  auto& best = scratch.best;
  best.clear();
  const auto upper = [](const Candidate& c) { return is_exact(c) ? c.score : c.upper; };
  std::sort(items.begin(), items.end(),
            [&](const Candidate& a, const Candidate& b) { return upper(a) > upper(b); });
  const auto in_reach = [&](const Candidate& c) {
    return best.size() < count || upper(c) >= best.back().score;
  };
  const auto list_members = [&](const Candidate& c) {
    const int32_t left = free_.remaining(c.id), first = distinct_.members(c.id) - left;
    for (int32_t j = 0; j < left; ++j) {
      const Scratch::Listed member{c.score, distinct_.member(c.id, first + j)};
      const auto at =
          std::upper_bound(best.begin(), best.end(), member, [](const auto& a, const auto& b) {
            return a.score != b.score ? a.score > b.score : a.rank < b.rank;
          });
      if (at == best.end() && best.size() == count) return;  // nor do members of higher rank
      best.insert(at, member);
      if (best.size() > count) best.pop_back();
    }
  };
  constexpr size_t kBatch = 32;
  for (auto next = items.begin(); next != items.end() && in_reach(*next);) {
    // As many as are wanted, then those that the scores found leave in reach.
    const size_t most = std::min(kBatch, next == items.begin() ? count : kBatch);
    scratch.candidates.clear();
    scratch.rows.clear();
    const auto from = next;
    for (; next != items.end() && next < from + most && in_reach(*next); ++next) {
      if (is_exact(*next)) continue;
      scratch.candidates.push_back(&*next);
      scratch.rows.push_back(scorer_.latent(distinct_.row(next->id)));
    }
    scratch.dots.resize(scratch.rows.size());
    scorer_.dots(scratch.rows.data(), std::ssize(scratch.rows), source, scratch.dots.data());
    for (size_t i = 0; i < scratch.rows.size(); ++i) {
      Candidate& c = *scratch.candidates[i];
      c.score = scratch.dots[i] / distinct_.norm(c.id);
    }
    std::for_each(from, next, list_members);
  }
  floor = best.size() == count ? best.back().score : -kInfinity;
  size_t certain = 0;
  for (const Scratch::Listed& b : best) {
    const bool sure =
        b.score > list.outside || (b.score == list.outside && b.rank <= list.outside_rank);
    if (!sure) break;
    const LatentRow row = distinct_.row_of_rank(b.rank);
    out[certain++] = {b.score, descending_ ? -norms_[row] : norms_[row], index_[row]};
  }
  const bool all = std::cmp_equal(certain, free_.count());
  if (certain < count) out[certain].index = all ? kNoOthers : kUnknown;
  return 2 * certain >= count || all;
}

void HostShard::remove(std::span<const int64_t> taken) {
  for (const int64_t latent : taken) {
    const auto at = std::lower_bound(index_.begin(), index_.end(), latent);
    if (at == index_.end() || *at != latent) continue;
    const auto row = static_cast<LatentRow>(at - index_.begin());
    const LatentId id = id_of_row_[row];
    if (!free_.is_free(id) || distinct_.row_of_rank(free_.rank(id)) != row) {
      refuse_taken(latent);
    }
    searcher_.take(id);
  }
}

void refuse_taken(int64_t latent) {
  throw std::invalid_argument(
      "taken must name free latents in the order in which they were taken, and latent " +
      std::to_string(latent) + " cannot have been next");
}

}  // namespace gtn
