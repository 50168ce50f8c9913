#include "faiss/shortlist_faiss.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace gtn {
namespace {

// FAISS takes hardly longer for so many, and they spare second searches.
constexpr int64_t kFewest = 16;
constexpr int64_t kAgain = 256;
// An index's copy of the rows is made anew when this share of it is gone, and already at the lesser
// one when sources have to be searched again.
constexpr double kRenew = 0.25;
constexpr double kRenewSooner = 1.0 / 16.0;

}  // namespace

FaissShortlist::FaissShortlist(const Scorer& scorer, const FreeLatents& free,
                               InnerProductIndex& index, Parallel& parallel)
    : scorer_(scorer), free_(free), index_(index), parallel_(parallel), blocks_(index, parallel) {
  renew();
}

void FaissShortlist::renew() {
  rows_.emplace(scorer_, free_, parallel_);
  if (index_.reads_rows()) return;
  index_.load(rows_->rows());
  rows_->drop_rows();
  gone_ = 0;
}

void FaissShortlist::search(std::span<const Query> queries, int64_t depth, bool guess,
                            std::span<CandidateList> lists) {
  const double share = guess ? kRenew : kRenewSooner;
  if (static_cast<double>(gone_) > share * static_cast<double>(rows_->count())) renew();
  rows_->make_queries(queries, parallel_, queries_);
  for (CandidateList& list : lists) {
    list.clear();
    list.outside = -kInfinity;
  }
  const int64_t count = std::ssize(queries);
  int64_t k = std::max(2 * depth, guess ? kFewest : kAgain);
  k += std::min(gone_, k / 2);
  blocks_.run(rows_->rows(), {queries_.vectors.data(), count, scorer_.latents().dim}, k,
              [&](const BlockSearch::Found& found) { add(found, queries, lists); });
}

void FaissShortlist::add(const BlockSearch::Found& found, std::span<const Query> queries,
                         std::span<CandidateList> lists) const {
  const double error = rows_->error();
  const size_t k = found.k;
  for (size_t i = 0; i * k < found.scores.size(); ++i) {
    const size_t at = static_cast<size_t>(found.first) + i;
    CandidateList& list = lists[at];
    const double base = queries_.bases[at], norm = queries[at].source_norm;
    float least = std::numeric_limits<float>::infinity();
    bool all = true;
    for (size_t j = i * k; j < (i + 1) * k; ++j) {
      const int64_t position = found.positions[j];
      const float score = found.scores[j];
      if (position == -1) {
        all = false;
        continue;
      }
      if (position < 0 || position >= found.rows || !(std::fabs(score) < 8.0f)) {
        throw std::runtime_error("FAISS returned row " + std::to_string(position) +
                                 " with inner product " + std::to_string(score) + " of " +
                                 std::to_string(found.rows) + " rows of norm at most 2");
      }
      least = std::min(least, score);
      const LatentId id = rows_->id_at(found.first_row + position);
      if (!free_.is_free(id)) continue;
      const double cosine = base + static_cast<double>(score);
      list.items.push_back(
          {.id = id, .upper = (cosine + error) * norm, .lower = (cosine - error) * norm});
    }
    if (!all) {
      list.outside = kInfinity;
    } else if (found.k < found.rows) {
      // One error between what was computed for a row left out and the truth, one for the least of
      // those returned, and one if a score returned is not the one that was compared.
      const double outside = base + static_cast<double>(least) + 3.0 * error;
      list.outside = std::max(list.outside, outside * norm);
    }
  }
}

void FaissShortlist::remove(std::span<const LatentId> ids) {
  if (index_.reads_rows()) {
    rows_->remove(ids);
  } else {
    gone_ += std::ssize(ids);
  }
}

void FaissShortlist::describe(Stats& stats) const {
  stats.arithmetic = "float32";
  stats.work_bytes += rows_->bytes();
}

}  // namespace gtn
