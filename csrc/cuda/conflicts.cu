#include "cuda/conflicts.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int32_t kHungry = -1;

struct Choice {
  int32_t rank;
  int32_t entry;
};

// The latent that source `s` takes while others hold what `holder` says (contract, rules 3 and 4).
__device__ Choice choose(const ResolveTask& t, int32_t s, int32_t first_entry, int32_t& broken) {
  const int32_t* ranks = t.lists.ranks + int64_t{s} * t.lists.room;
  const int32_t count = t.lists.count[s];
  const int64_t left = t.free - s;  // free for this source
  const int64_t wanted = t.cone < left ? t.cone : left;
  Choice choice{kHungry, -1};
  int64_t seen = 0;
  for (int32_t i = first_entry; i < count && seen < wanted; ++i) {
    if (t.holder[ranks[i]] < s) continue;  // taken, or an earlier source's
    ++seen;
    if (choice.rank < 0 || ranks[i] < choice.rank) choice = {ranks[i], i};
  }
  if (seen == wanted) return choice;
  if (t.lists.whole[s]) broken = 1;  // each earlier source holds at most one
  return {kHungry, -1};
}

__global__ __launch_bounds__(kThreads) void resolve_kernel(ResolveTask t) {
  __shared__ int32_t choices[kMostWindow], entries[kMostWindow];
  __shared__ int32_t hungry, first_hungry, deepest, conflicts;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t settled = t.state->settled;
  for (int32_t s = thread; s < t.count; s += kThreads) {
    choices[s] = t.choices[s];
    entries[s] = t.entries[s];
  }
  if (thread == 0) {
    hungry = deepest = conflicts = 0;
    first_hungry = t.count;
  }
  __syncthreads();
  int32_t broken = 0, rounds = 0;
  for (;;) {
    // With one nearest to take, what an earlier source holds is lost for good: go on from there.
    Choice next[kMostWindow / kThreads];
    int changed = 0;
    for (int i = 0; i < kMostWindow / kThreads; ++i) {
      const int32_t s = thread + i * kThreads;
      if (s >= t.count || s < settled) continue;
      const int32_t from = t.cone == 1 && choices[s] >= 0 ? entries[s] : 0;
      next[i] = choose(t, s, from, broken);
      changed |= next[i].rank != choices[s];
    }
    ++rounds;
    if (!__syncthreads_or(changed)) break;
    for (int i = 0; i < kMostWindow / kThreads; ++i) {
      const int32_t s = thread + i * kThreads;
      // (Several sources may have chosen one latent.)
      if (s < t.count && s >= settled && choices[s] >= 0) atomicExch(&t.holder[choices[s]], kFree);
    }
    __syncthreads();
    for (int i = 0; i < kMostWindow / kThreads; ++i) {
      const int32_t s = thread + i * kThreads;
      if (s >= t.count || s < settled) continue;
      choices[s] = next[i].rank;
      entries[s] = next[i].entry;
      if (choices[s] >= 0) atomicMin(&t.holder[choices[s]], s);
    }
    __syncthreads();
  }
  for (int32_t s = thread; s < t.count; s += kThreads) {
    if (choices[s] < 0) {
      t.hungry[atomicAdd(&hungry, 1)] = s;
      atomicMin(&first_hungry, s);
    } else {
      atomicMax(&deepest, entries[s]);
      if (entries[s] > 0) atomicAdd(&conflicts, 1);
    }
    t.choices[s] = choices[s];
    t.entries[s] = entries[s];
  }
  if (broken) atomicExch(&t.state->broken, 1);
  __syncthreads();
  // No hungry source comes before these: whatever those take, these keep what they have.
  for (int32_t s = settled + thread; s < first_hungry; s += kThreads) {
    t.holder[choices[s]] = kTaken;
  }
  if (thread == 0) {
    t.state->hungry = hungry;
    t.state->settled = first_hungry;
    t.state->deepest = deepest;
    t.state->conflicts = conflicts;
    t.state->rounds = rounds;
  }
}

__global__ void commit_kernel(CommitTask t) {
  const auto s = static_cast<int32_t>(int64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  if (s >= t.count) return;
  const int32_t source = t.sources[s];
  const int32_t row = t.problem.row_of_rank[t.choices[s]];
  t.assignment[source] = row;
  t.cosine[source] =
      t.lists.scores[int64_t{s} * t.lists.room + t.entries[s]] / t.problem.source_norms[source];
  t.visited[s] = row;
}

}  // namespace

void resolve(const ResolveTask& task, cudaStream_t stream) {
  launch(resolve_kernel, 1, kThreads, 0, stream, task);
}

void commit(const CommitTask& task, cudaStream_t stream) {
  launch(commit_kernel, dim3(static_cast<unsigned>((task.count + 255) / 256)), 256, 0, stream,
         task);
}

}  // namespace gtn::cuda
