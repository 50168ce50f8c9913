// Implements match.hpp.
#include "core/match.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/float_mode.hpp"
#include "core/norms.hpp"

namespace gtn {
namespace {

std::vector<int32_t> all_rows(int64_t count) {
  std::vector<int32_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// One group: the rows of its sources and latents, ascending.
struct Group {
  std::vector<int32_t> sources;
  std::vector<int32_t> latents;
};

// Rows by label: (label, rows ascending), labels ascending.
std::vector<std::pair<int64_t, std::vector<int32_t>>> by_label(const int64_t* labels, int64_t n) {
  std::vector<int32_t> rows = all_rows(n);
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int32_t a, int32_t b) { return labels[a] < labels[b]; });
  std::vector<std::pair<int64_t, std::vector<int32_t>>> parts;
  for (const int32_t row : rows) {
    if (parts.empty() || parts.back().first != labels[row]) parts.push_back({labels[row], {}});
    parts.back().second.push_back(row);
  }
  return parts;
}

std::vector<Group> split(const MatchInput& in) {
  std::vector<Group> groups;
  if (!in.source_groups) {
    groups.push_back({all_rows(in.sources.count), all_rows(in.latents.count)});
    return groups;
  }
  auto sources = by_label(in.source_groups, in.sources.count);
  auto latents = by_label(in.latent_groups, in.latents.count);
  auto at = latents.begin();
  for (auto& [label, rows] : sources) {
    while (at != latents.end() && at->first < label) ++at;
    const bool found = at != latents.end() && at->first == label;
    const size_t have = found ? at->second.size() : 0;
    if (rows.size() > have) {
      throw std::invalid_argument(
          "groups: a group must have at least as many latents as sources, but group " +
          std::to_string(label) + " has " + std::to_string(rows.size()) + " sources and " +
          std::to_string(have) + " latents");
    }
    groups.push_back({std::move(rows), std::move(at->second)});
  }
  return groups;
}

class Run {
 public:
  Run(const MatchInput& input, const Backend& backend, const MatchOutput& output, int64_t& done,
      const std::function<void()>& poll)
      : in_(input), backend_(backend), out_(output), done_(done), parallel_(input.threads, poll) {}

  void run();
  const Stats& stats() const { return stats_; }

 private:
  void run_group(Group& group, int64_t offset);
  void resume(const Scorer& scorer, const std::vector<int32_t>& order, int64_t offset,
              int64_t start, FreeLatents& free);
  void set_pair(int32_t source, int32_t latent, double score) {
    out_.assignment[source] = latent;
    out_.cosine[source] = score / source_norms_[static_cast<size_t>(source)];
  }

  const MatchInput& in_;
  const Backend& backend_;
  const MatchOutput& out_;
  int64_t& done_;
  Parallel parallel_;
  Stats stats_;
  Rows latents_;
  std::vector<double> mean_, latent_norms_, source_norms_;
};

void Run::run() {
  PhaseTimer total(stats_.seconds.total);
  stats_.threads = parallel_.threads();
  latents_ = in_.latents;
  {
    PhaseTimer timer(stats_.seconds.norms);
    if (in_.center) {
      mean_ = column_mean(in_.latents, parallel_);
      latents_.mean = mean_.data();
    }
    latent_norms_ = checked_norms(latents_, parallel_);
    source_norms_ = checked_norms(in_.sources, parallel_);
  }
  std::vector<Group> groups = split(in_);
  int64_t offset = 0;
  for (Group& group : groups) {
    const int64_t sources = static_cast<int64_t>(group.sources.size());
    run_group(group, offset);
    offset += sources;
  }
  if (stats_.arithmetic.empty()) stats_.arithmetic = "float64";
  stats_.work_bytes += work_bytes(in_.latents.count, in_.sources.count);
}

void Run::run_group(Group& group, int64_t offset) {
  const Scorer scorer(latents_, in_.sources, *in_.kernels);
  std::vector<int32_t> order;
  std::unique_ptr<DistinctLatents> distinct;
  {
    PhaseTimer timer(stats_.seconds.order);
    const bool descending = in_.order == Order::norm_desc;
    order = in_.order == Order::index
                ? std::move(group.sources)
                : sorted_by_norm(group.sources, source_norms_, descending, parallel_);
    distinct = std::make_unique<DistinctLatents>(
        scorer, sorted_by_norm(group.latents, latent_norms_, descending, parallel_), latent_norms_,
        parallel_);
    std::vector<int32_t>().swap(group.latents);
    std::vector<int32_t>().swap(group.sources);
  }
  stats_.distinct += distinct->count();
  FreeLatents free(*distinct);
  const int64_t n = static_cast<int64_t>(order.size());
  const int64_t start = std::clamp<int64_t>(in_.start - offset, 0, n);
  resume(scorer, order, offset, start, free);
  done_ = offset + start;

  const ShortlistFactory make = [&](const FreeLatents& f) {
    return backend_(scorer, f, parallel_);
  };
  Greedy greedy(scorer, free, source_norms_, in_.cone, make, parallel_, stats_);
  greedy.run(
      order, start,
      [&](int64_t position, int32_t rank, double score) {
        const int32_t latent = distinct->row_of_rank(rank);
        out_.visited[offset + position] = latent;
        set_pair(order[static_cast<size_t>(position)], latent, score);
      },
      [&](int64_t position) { done_ = offset + position; });
}

// Takes what an earlier run assigned to the first `start` sources of the group.
void Run::resume(const Scorer& scorer, const std::vector<int32_t>& order, int64_t offset,
                 int64_t start, FreeLatents& free) {
  if (start == 0) return;
  const DistinctLatents& distinct = free.distinct();
  std::vector<int32_t> id_of_row(static_cast<size_t>(in_.latents.count), -1);
  for (int32_t id = 0; id < distinct.count(); ++id) {
    for (int32_t j = 0; j < distinct.members(id); ++j) {
      id_of_row[static_cast<size_t>(distinct.row_of_rank(distinct.member(id, j)))] = id;
    }
  }
  for (int64_t p = 0; p < start; ++p) {
    const int64_t row = out_.visited[offset + p];
    const int32_t id =
        row < 0 || row >= in_.latents.count ? -1 : id_of_row[static_cast<size_t>(row)];
    if (id < 0 || !free.is_free(id) || distinct.row_of_rank(free.rank(id)) != row) {
      throw std::invalid_argument(
          "visited must hold the latents that the first sources took, but entry " +
          std::to_string(offset + p) + " is " + std::to_string(row) +
          ", which is not a free latent that it can have taken");
    }
    free.take(id);
    const int32_t source = order[static_cast<size_t>(p)];
    const double norm = latent_norms_[static_cast<size_t>(row)];
    set_pair(source, static_cast<int32_t>(row), scorer.score(row, norm, source));
  }
}

}  // namespace

Stats match_rows(const MatchInput& input, const Backend& backend, const MatchOutput& output,
                 int64_t& done, const std::function<void()>& poll) {
  const DefaultFloatMode mode;
  Run run(input, backend, output, done, poll);
  run.run();
  return run.stats();
}

}  // namespace gtn
