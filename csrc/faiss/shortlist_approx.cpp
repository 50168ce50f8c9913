#include "faiss/shortlist_approx.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace gtn {
namespace {

// Approximate lists are searched wider than exact ones: nothing certifies them.
constexpr int64_t kFewest = 24;
// The index is filled anew when this share of it is gone. Until then searches find what is gone.
constexpr double kRenew = 0.5;
// The last latents: so few, and such a share of all. The cells of an index are all but empty then.
constexpr int64_t kFew = 65536;
constexpr int64_t kFewShare = 16;

}  // namespace

ApproxShortlist::ApproxShortlist(const Scorer& scorer, const FreeLatents& free,
                                 InnerProductIndex& index, const Backend& exact, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      index_(index),
      make_exact_(exact),
      parallel_(parallel),
      all_(free.ids()),
      blocks_(index, parallel) {
  rows_.emplace(scorer_, free_, parallel_);
  index_.train(rows_->rows());
  load();
}

void ApproxShortlist::load() {
  index_.load(rows_->rows());
  rows_->drop_rows();
  gone_ = 0;
}

Shortlist& ApproxShortlist::exact(std::span<const Query> queries) {
  if (!exact_) exact_ = make_exact_(scorer_, free_, queries, parallel_);
  return *exact_;
}

bool ApproxShortlist::few_left() const {
  return free_.ids() <= std::min(kFew, all_ / kFewShare);
}

void ApproxShortlist::search(std::span<const Query> queries, int64_t depth, bool guess,
                             std::span<CandidateList> lists) {
  if (!guess || few_left()) return exact(queries).search(queries, depth, guess, lists);
  if (static_cast<double>(gone_) > kRenew * static_cast<double>(rows_->count())) {
    rows_.emplace(scorer_, free_, parallel_);
    load();
  }
  rows_->make_queries(queries, parallel_, queries_);
  for (CandidateList& list : lists) list.clear();
  // Enough to leave that many if what is gone is spread evenly.
  const double left = 1.0 - static_cast<double>(gone_) / static_cast<double>(rows_->count());
  const int64_t wanted = std::max(2 * depth, kFewest);
  const auto k = static_cast<int64_t>(static_cast<double>(wanted) / left);
  const FloatRows vectors{queries_.vectors.data(), std::ssize(queries), scorer_.latents().dim};
  blocks_.run(rows_->rows(), vectors, k, [&](const BlockSearch::Found& found) {
    for (size_t at = 0; at < found.positions.size(); ++at) {
      const int64_t position = found.positions[at];
      if (position == -1) continue;
      if (position < 0 || position >= found.rows) {
        throw std::runtime_error("FAISS returned row " + std::to_string(position) + " of " +
                                 std::to_string(found.rows));
      }
      const LatentId id = rows_->id_at(position);
      if (!free_.is_free(id)) continue;
      // An index may compute values far from the score, so nothing is known of the score.
      CandidateList& list =
          lists[static_cast<size_t>(found.first) + at / static_cast<size_t>(found.k)];
      list.items.push_back({.id = id, .upper = kInfinity});
      list.outside = -kInfinity;
    }
  });
}

void ApproxShortlist::remove(std::span<const LatentId> ids) {
  gone_ += std::ssize(ids);
  if (exact_) exact_->remove(ids);
}

void ApproxShortlist::describe(Stats& stats) const {
  stats.arithmetic = few_left() ? "" : "approx";
  stats.work_bytes += rows_->bytes();
  if (exact_) {
    Stats of_exact;
    exact_->describe(of_exact);
    if (few_left()) stats.arithmetic = of_exact.arithmetic;
    stats.work_bytes += of_exact.work_bytes;
  }
}

}  // namespace gtn
