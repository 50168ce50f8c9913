#include "core/audit.hpp"

#include "core/float_mode.hpp"
#include "core/searcher.hpp"

namespace gtn {
namespace {

constexpr int64_t kSpare = 3;  // a shortlist for one source needs to certify little beyond the cone
constexpr int64_t kTakenPerPoll = 4096;

}  // namespace

void audit_rows(const MatchInput& input, const Backend& backend, std::span<const int64_t> visited,
                std::span<const int64_t> positions, const AuditOutput& output, int64_t& done,
                Poll poll) {
  const DefaultFloatMode mode;
  Parallel parallel(input.threads, poll);
  Stats stats;
  Problem problem(input, parallel, stats);
  done = 0;
  const int64_t count = std::ssize(positions);
  problem.for_each_group([&](const Scorer& scorer, const Problem::Group& group) {
    const DistinctLatents& distinct = *group.distinct;
    FreeLatents free(distinct);
    const ShortlistFactory make = [&](const FreeLatents& f, std::span<const Query> first) {
      return backend(scorer, f, first, parallel);
    };
    Searcher searcher(scorer, free, make, parallel, stats);
    const Replay run(group, visited, input.latents.count);
    CandidateList list;
    for (int64_t p = 0; p < std::ssize(group.sources); ++p) {
      if (done < count && positions[done] == group.offset + p) {
        const SourceRow source = group.sources[p];
        const double norm = problem.source_norms()[source];
        const Decision d = searcher.choose({source, norm}, input.cone + kSpare, input.cone, list,
                                           stats.full_scans);
        output.source[done] = source;
        output.latent[done] = distinct.row_of_rank(d.rank);
        output.cosine[done] = d.score / norm;
        ++done;
      }
      searcher.take(run.id_taken(p, free));
      if (p % kTakenPerPoll == 0) parallel.poll_if_due();
    }
  });
}

}  // namespace gtn
