// Equal rows have equal norms, so they are found inside runs of equal norm in rank order; runs are
// searched in parallel.
#include "core/distinct.hpp"

#include <algorithm>
#include <atomic>

#include "core/row_bytes.hpp"

namespace gtn {
namespace {

// Finds equal rows inside a run of equal norm, ranks [begin, end).
// leader[rank] = rank of the first row that is equal to it.
class RunLeaders {
 public:
  RunLeaders(const Rows& rows, const std::vector<LatentRow>& row_of_rank,
             std::vector<int32_t>& leader)
      : rows_(rows), row_of_rank_(row_of_rank), leader_(leader) {}

  void find(size_t begin, size_t end) {
    if (end - begin < 2) return;
    run_.clear();
    for (size_t r = begin; r < end; ++r) run_.emplace_back(hash(r), static_cast<int32_t>(r));
    std::sort(run_.begin(), run_.end());
    // A hash collision at worst splits a class in two, which costs time and nothing else.
    int32_t head = run_[0].second;
    for (size_t i = 1; i < run_.size(); ++i) {
      const int32_t rank = run_[i].second;
      const bool same = run_[i].first == run_[i - 1].first && equal(rank, head);
      if (same) {
        leader_[rank] = head;
      } else {
        head = rank;
      }
    }
  }

 private:
  RowBytes bytes(size_t rank) const { return bytes_of(rows_, row_of_rank_[rank]); }
  // In one dimension centring may round different rows to one value, and values decide.
  bool positive(size_t rank) const {
    double value;
    widen_row(rows_, row_of_rank_[rank], &value);
    return value > 0.0;
  }
  uint64_t hash(size_t rank) const {
    return rows_.dim == 1 ? uint64_t{positive(rank)} : bytes(rank).hash();
  }
  bool equal(size_t a, size_t b) const {
    return rows_.dim == 1 ? positive(a) == positive(b) : bytes(a) == bytes(b);
  }

  const Rows& rows_;
  const std::vector<LatentRow>& row_of_rank_;
  std::vector<int32_t>& leader_;
  std::vector<std::pair<uint64_t, int32_t>> run_;
};

void lead_equal_rows(const Rows& rows, const std::vector<LatentRow>& row_of_rank,
                     const std::vector<double>& norms, std::vector<int32_t>& leader,
                     Parallel& parallel) {
  const int64_t n = std::ssize(row_of_rank);
  const auto norm = [&](int64_t rank) { return norms[row_of_rank[rank]]; };
  parallel.run(n, 1 << 14, [&](int64_t from, int64_t to, int) {
    RunLeaders leaders(rows, row_of_rank, leader);
    // The runs that begin in [from, to).
    int64_t begin = from;
    while (begin > 0 && begin < to && norm(begin) == norm(begin - 1)) ++begin;
    while (begin < to) {
      int64_t end = begin + 1;
      while (end < n && norm(end) == norm(begin)) ++end;
      leaders.find(begin, end);
      begin = end;
    }
  });
}

// One dimension with exact products: one class a sign.
void lead_signs(const Rows& rows, const std::vector<LatentRow>& row_of_rank,
                std::vector<int32_t>& leader) {
  int32_t head[2] = {-1, -1};
  for (size_t r = 0; r < row_of_rank.size(); ++r) {
    int32_t& h = head[static_cast<const float*>(rows.data)[row_of_rank[r]] < 0.0f];
    if (h < 0) h = static_cast<int32_t>(r);
    leader[r] = h;
  }
}

}  // namespace

DistinctLatents::DistinctLatents(const Scorer& scorer, std::vector<LatentRow> row_of_rank,
                                 const std::vector<double>& norms, Parallel& parallel)
    : row_of_rank_(std::move(row_of_rank)), norms_(norms) {
  const size_t n = row_of_rank_.size();
  const bool by_sign = scorer.latents().dim == 1 && scorer.exact_products();
  std::atomic<bool> any{by_sign && n > 1};
  parallel.run(std::ssize(row_of_rank_) - 1, 1 << 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t row = row_of_rank_[r];
      const size_t next = row_of_rank_[r + 1];
      if (norms_[row] == norms_[next]) any.store(true, std::memory_order_relaxed);
    }
  });
  count_ = static_cast<int32_t>(n);
  if (!any.load()) return;

  std::vector<int32_t> leader(n);
  for (size_t r = 0; r < n; ++r) leader[r] = static_cast<int32_t>(r);
  if (by_sign) {
    lead_signs(scorer.latents(), row_of_rank_, leader);
  } else {
    lead_equal_rows(scorer.latents(), row_of_rank_, norms_, leader, parallel);
  }
  collapse(leader);
}

DistinctLatents::DistinctLatents(std::vector<LatentRow> row_of_rank,
                                 const std::vector<double>& norms,
                                 const std::vector<int32_t>& classes)
    : row_of_rank_(std::move(row_of_rank)),
      norms_(norms),
      count_(static_cast<int32_t>(row_of_rank_.size())) {
  // Rows of one class have one norm. Nothing here has the length of `classes`: that is of all
  // groups.
  const int32_t n = count_;
  const auto norm = [&](int32_t rank) { return norms_[row_of_rank_[rank]]; };
  std::vector<int32_t> leader(n);
  std::vector<std::pair<int32_t, int32_t>> run;  // of equal norm: class and rank
  for (int32_t begin = 0, end = 0; begin < n; begin = end) {
    run.clear();
    for (; end < n && norm(end) == norm(begin); ++end) {
      run.emplace_back(classes[row_of_rank_[end]], end);
    }
    std::sort(run.begin(), run.end());
    for (size_t i = 0; i < run.size(); ++i) {
      const bool same = i > 0 && run[i].first == run[i - 1].first;
      leader[run[i].second] = same ? leader[run[i - 1].second] : run[i].second;
    }
  }
  collapse(leader);
}

// leader: by rank, the first of the ranks that share an id.
void DistinctLatents::collapse(const std::vector<int32_t>& leader) {
  const size_t n = leader.size();
  std::vector<int32_t> id_of_rank(n);
  int32_t ids = 0;
  for (size_t r = 0; r < n; ++r) {
    const size_t lead = leader[r];
    id_of_rank[r] = lead == r ? ids++ : id_of_rank[lead];
  }
  if (ids == count_) return;
  count_ = ids;
  start_.assign(ids + 1, 0);
  for (size_t r = 0; r < n; ++r) ++start_[id_of_rank[r] + 1];
  for (size_t i = 1; i < start_.size(); ++i) start_[i] += start_[i - 1];
  ranks_.resize(n);
  std::vector<int32_t> fill(start_.begin(), start_.end() - 1);
  for (size_t r = 0; r < n; ++r) {
    ranks_[fill[id_of_rank[r]]++] = static_cast<int32_t>(r);
  }
}

}  // namespace gtn
