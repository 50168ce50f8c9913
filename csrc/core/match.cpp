#include "core/match.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/float_mode.hpp"
#include "core/greedy.hpp"
#include "core/local_pool.hpp"

namespace gtn {
namespace {

class Run {
 public:
  Run(const MatchInput& input, const Backend& backend, const MatchOutput& output, int64_t& done,
      Poll poll)
      : in_(input), backend_(backend), out_(output), done_(done), parallel_(input.threads, poll) {}

  Stats run();

 private:
  void run_group(const Problem& problem, const Scorer& scorer, const Problem::Group& group);
  void set_pair(const Problem& problem, SourceRow source, LatentRow latent, double score) {
    out_.assignment[source] = latent;
    out_.cosine[source] = score / problem.source_norms()[source];
  }

  const MatchInput& in_;
  const Backend& backend_;
  const MatchOutput& out_;
  int64_t& done_;
  Parallel parallel_;
  Stats stats_;
};

Stats Run::run() {
  {
    PhaseTimer total(stats_.seconds.total);
    stats_.threads = parallel_.threads();
    Problem problem(in_, parallel_, stats_);
    problem.for_each_group([&](const Scorer& scorer, const Problem::Group& group) {
      run_group(problem, scorer, group);
    });
  }
  if (stats_.arithmetic.empty()) stats_.arithmetic = "float64";
  stats_.work_bytes += work_bytes(in_.latents.count, in_.sources.count);
  return stats_;
}

void Run::run_group(const Problem& problem, const Scorer& scorer, const Problem::Group& group) {
  const DistinctLatents& distinct = *group.distinct;
  FreeLatents free(distinct);
  const int64_t n = std::ssize(group.sources);
  const int64_t start = std::clamp<int64_t>(in_.start - group.offset, 0, n);
  if (start > 0) {
    const Replay earlier(group, {out_.visited, static_cast<size_t>(in_.sources.count)},
                         in_.latents.count);
    for (int64_t p = 0; p < start; ++p) {
      const LatentRow row = distinct.row_of_rank(free.take(earlier.id_taken(p, free)));
      const SourceRow source = group.sources[p];
      const double norm = problem.latent_norms()[row];
      set_pair(problem, source, row, scorer.score(row, norm, source));
    }
  }

  const ShortlistFactory make = [&](const FreeLatents& f, std::span<const Query> first) {
    return backend_(scorer, f, first, parallel_);
  };
  LocalPool pool(scorer, free, in_.cone, make, parallel_, stats_);
  Greedy greedy(pool, in_.cone, parallel_, stats_);
  greedy.run(
      group.sources, problem.source_norms(), start,
      [&](int64_t position, int64_t latent, double score) {
        out_.visited[group.offset + position] = latent;
        set_pair(problem, group.sources[position], static_cast<LatentRow>(latent), score);
      },
      [&](int64_t position) { done_ = group.offset + position; });
}

}  // namespace

void require_memory(int64_t memory, int64_t needed) {
  if (memory == 0 || memory >= needed) return;
  throw std::invalid_argument("memory must be at least " + std::to_string(needed) +
                              " bytes for this input, got " + std::to_string(memory));
}

Stats match_rows(const MatchInput& input, const Backend& backend, const MatchOutput& output,
                 int64_t& done, Poll poll) {
  const DefaultFloatMode mode;
  done = input.start;
  return Run(input, backend, output, done, poll).run();
}

}  // namespace gtn
