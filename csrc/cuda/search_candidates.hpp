// What a block of search.cu knows of its source: the members that its warps look at, and the best
// candidates among those that were looked at.
#pragma once

#include <cmath>

#include "cuda/bounds.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {

#ifdef GTN_DEVICE_CODE

constexpr int kSearchThreads = 256;
constexpr int kSearchWarps = kSearchThreads / kWarp;
constexpr int kMembersPerLane = kMostMembers / kWarp;
constexpr int kSure = 8;  // members a warp names whose scores have the largest lower bounds

// (score, rank) in the order of preference.
__device__ inline bool better(double score, int32_t rank, double other, int32_t other_rank) {
  return score > other || (score == other && rank < other_rank);
}

// The candidates of a block, in its shared memory: sorted up to `sorted`, new ones behind.
struct Candidates {
  double* scores;         // [depth + kSearchWarps * kMostMembers]
  double* sorted_scores;  // [depth]
  int32_t* ranks;
  int32_t* sorted_ranks;

  __device__ Candidates(unsigned char* memory, int32_t depth) {
    const int32_t room = depth + kSearchWarps * kMostMembers;
    scores = reinterpret_cast<double*>(memory);
    sorted_scores = scores + room;
    ranks = reinterpret_cast<int32_t*>(sorted_scores + depth);
    sorted_ranks = ranks + room;
  }
};

inline size_t shared_bytes(int32_t depth) {
  return (static_cast<size_t>(2 * depth) + kSearchWarps * kMostMembers) *
         (sizeof(double) + sizeof(int32_t));
}

// What a lane looks at: its members of a group, or one of each of several groups with names.
struct Members {
  double upper[kMembersPerLane];  // of the score; -infinity: none
  double lower[kMembersPerLane];
  int32_t rank[kMembersPerLane];  // -1: none

  __device__ void clear() {
    for (int i = 0; i < kMembersPerLane; ++i) {
      upper[i] = lower[i] = -INFINITY;
      rank[i] = -1;
    }
  }
};

// Writes the largest lower bounds of a warp's members, -infinity where there are fewer.
__device__ inline void name_sure(const Members& members, int32_t depth, double* sure) {
  const int lane = threadIdx.x % kWarp;
  bool named[kMembersPerLane] = {};
  for (int n = 0; n < kSure && n < depth; ++n) {
    double mine = -INFINITY;
    for (int i = 0; i < kMembersPerLane; ++i) {
      if (!named[i] && members.lower[i] > mine) mine = members.lower[i];
    }
    double most = mine;
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const double other = __shfl_xor_sync(kAllLanes, most, step);
      most = other > most ? other : most;
    }
    const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, mine == most))) - 1;
    if (lane != owner) continue;
    sure[n] = most;
    bool gone = false;
    for (int i = 0; i < kMembersPerLane; ++i) {
      if (gone || named[i] || members.lower[i] != most) continue;
      named[i] = gone = true;
    }
  }
}

// The depth-th largest of what the warps named goes to *least.
__device__ inline void find_least(const double* sure, int32_t depth, double* least) {
  const int here = depth < kSure ? depth : kSure;  // of each warp
  const auto i = static_cast<int>(threadIdx.x);
  if (i >= kSearchWarps * kSure || i % kSure >= here) return;
  int32_t ahead = 0;
  for (int j = 0; j < kSearchWarps * kSure; ++j) {
    if (j % kSure >= here) continue;
    ahead += sure[j] > sure[i] || (sure[j] == sure[i] && j < i);
  }
  if (ahead == depth - 1) *least = sure[i];
}

// Keeps the best `depth` of `count` candidates, sorted by counting those that are better.
__device__ inline int32_t keep_best(Candidates& c, int32_t count, int32_t depth) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kSearchThreads) {
    int32_t ahead = 0;
    for (int32_t j = 0; j < count && ahead < depth; ++j) {
      ahead += better(c.scores[j], c.ranks[j], c.scores[i], c.ranks[i]);
    }
    if (ahead < depth) {
      c.sorted_scores[ahead] = c.scores[i];
      c.sorted_ranks[ahead] = c.ranks[i];
    }
  }
  __syncthreads();
  const int32_t kept = count < depth ? count : depth;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kept; i += kSearchThreads) {
    c.scores[i] = c.sorted_scores[i];
    c.ranks[i] = c.sorted_ranks[i];
  }
  __syncthreads();
  return kept;
}

#endif

}  // namespace gtn::cuda
