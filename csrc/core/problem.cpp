#include "core/problem.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/norms.hpp"

namespace gtn {
namespace {

std::vector<int32_t> all_rows(int64_t count) {
  std::vector<int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

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

}  // namespace

std::vector<GroupRows> rows_of_groups(const MatchInput& in) {
  std::vector<GroupRows> parts;
  if (!in.source_groups) {
    parts.push_back({all_rows(in.sources.count), all_rows(in.latents.count)});
    return parts;
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
    parts.push_back({std::move(rows), std::move(at->second)});
  }
  return parts;
}

[[noreturn]] void refuse_visited(int64_t entry, int64_t row) {
  throw std::invalid_argument(
      "visited must hold the latents that the first sources took, but entry " +
      std::to_string(entry) + " is " + std::to_string(row) +
      ", which is not a free latent that it can have taken");
}

Problem::Problem(const MatchInput& input, Parallel& parallel, Stats& stats)
    : in_(input), parallel_(parallel), stats_(stats), latents_(input.latents) {
  PhaseTimer timer(stats_.seconds.norms);
  if (in_.center) {
    mean_ = column_mean(in_.latents, parallel_);
    latents_.mean = mean_.data();
  }
  latent_norms_ = checked_norms(latents_, parallel_);
  source_norms_ = checked_norms(in_.sources, parallel_);
}

void Problem::for_each_group(FunctionRef<void(const Scorer&, const Group&)> run) {
  const Scorer scorer(latents_, in_.sources, *in_.kernels);
  const bool descending = in_.order == Order::norm_desc;
  int64_t offset = 0;
  for (GroupRows& part : rows_of_groups(in_)) {
    Group group;
    {
      PhaseTimer timer(stats_.seconds.order);
      group.offset = offset;
      group.sources = in_.order == Order::index
                          ? std::move(part.sources)
                          : sorted_by_norm(part.sources, source_norms_, descending, parallel_);
      group.distinct = std::make_unique<DistinctLatents>(
          scorer, sorted_by_norm(part.latents, latent_norms_, descending, parallel_), latent_norms_,
          parallel_);
      std::vector<int32_t>().swap(part.latents);
      std::vector<int32_t>().swap(part.sources);
    }
    stats_.distinct += group.distinct->count();
    offset += std::ssize(group.sources);
    run(scorer, group);
  }
}

Replay::Replay(const Problem::Group& group, std::span<const int64_t> visited, int64_t latents)
    : group_(group),
      visited_(visited.subspan(group.offset, group.sources.size())),
      id_of_row_(latents, -1) {
  const DistinctLatents& distinct = *group.distinct;
  for (LatentId id = 0; id < distinct.count(); ++id) {
    for (int32_t j = 0; j < distinct.members(id); ++j) {
      id_of_row_[distinct.row_of_rank(distinct.member(id, j))] = id;
    }
  }
}

int32_t Replay::id_taken(int64_t position, const FreeLatents& free) const {
  const int64_t row = visited_[position];
  const bool known = row >= 0 && row < std::ssize(id_of_row_);
  const LatentId id = known ? id_of_row_[row] : -1;
  if (id < 0 || !free.is_free(id) || group_.distinct->row_of_rank(free.rank(id)) != row) {
    refuse_visited(group_.offset + position, row);
  }
  return id;
}

}  // namespace gtn
