// Conflicts inside a window: two sources that want the same latent. One block repeats rounds in
// which each source chooses what it would if the earlier ones kept what they chose in the round
// before, until nothing changes: then the choices are those of the greedy loop, because the first
// source never depended on others, the second only on the first, and so on.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/search.hpp"

namespace gtn::cuda {

constexpr int32_t kMostWindow = 4096;

// The host reads this after each window.
struct WindowState {
  int32_t hungry;   // sources whose list ended before their choice: searched again
  int32_t settled;  // leading sources that are final
  int32_t deepest;  // the furthest entry of a list that was chosen
  int32_t rounds;
  int32_t conflicts;  // sources that did not get the first choice of their list
  int32_t broken;     // a list that has everything had too little: a fault of ours
  Counters counters;
};

struct ResolveTask {
  Lists lists;
  int32_t count;  // sources of the window
  int32_t cone;
  int64_t free;        // latents that were free when the window began
  int32_t* choices;    // [count] ranks; -1 before the first round, and for the hungry
  int32_t* entries;    // [count] the entry of the list that was chosen
  int32_t* holder;     // by rank
  int32_t* hungry;     // [count] their positions
  WindowState* state;  // in and out: settled
};

void resolve(const ResolveTask& task, cudaStream_t stream);

struct CommitTask {
  Problem problem;
  Lists lists;
  int32_t count;
  const int32_t* sources;  // rows of the window's sources
  const int32_t* choices;
  const int32_t* entries;
  int32_t* assignment;  // by source row
  double* cosine;       // by source row
  int32_t* visited;     // [count] latent rows
};

// Writes the pairs of a window that is resolved.
void commit(const CommitTask& task, cudaStream_t stream);

}  // namespace gtn::cuda
