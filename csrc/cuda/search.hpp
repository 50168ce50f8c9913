// The search: for each source of a window the best free latents, by the contract's exact scores, as
// far as they are certain. Groups are opened best bound first until no unopened one can matter, so
// that the first `depth` entries of a list are the true best, in order (score, then rank). Of a
// group with names (largest_sums.hpp) first the named member is scored, and the others are opened
// when their own bound is the best. The bound of every opened group, and of one unopened group a
// source, is compared with its codes, and that of a named member with its own.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/bounds.hpp"

namespace gtn::cuda {

constexpr int32_t kFree = INT32_MAX;  // holder of a latent that no source of the window wants
constexpr int32_t kTaken = -1;        // and of one that is gone

// One list a source of the window.
struct Lists {
  int32_t* ranks;  // [window][room], best first
  double* scores;  // [window][room]
  int32_t* count;  // [window] entries
  int32_t* whole;  // [window] 1: nothing else is free
  int32_t room;
};

// The device's counts, and the faults that it found.
struct Counters {
  unsigned long long rescored;    // exact scores
  unsigned long long opened;      // groups that were read whole
  unsigned long long named;       // members that were scored because the scan named them
  unsigned long long candidates;  // entries of lists
  int32_t disagreed;              // a scan's bound is not what its codes give: a broken kernel
};

struct SearchTask {
  Problem problem;
  Groups groups;
  CodeView codes;
  Uppers bounds;           // of the window
  const int32_t* sources;  // rows of the window's sources
  int64_t first;         // position of the first of them: it draws the groups that are spot-checked
  const int32_t* which;  // positions in the window to search for; null: all
  const int32_t* holder;  // by rank: the position that holds it, kFree or kTaken
  bool pass_held;         // latents that earlier positions hold are lost for good (cone 1)
  int32_t depth;
  Lists lists;
  Counters* counters;
};

// Searches for `count` sources.
void search(const SearchTask& task, int32_t count, cudaStream_t stream);

// After a search for all sources of a window: compares the bound of one group a source that stayed
// closed with its codes.
void spot_check(const SearchTask& task, int32_t count, cudaStream_t stream);

// The deepest search there is.
constexpr int32_t kMostDepth = 1600;
// Allows the shared memory that the deepest search takes: before the first search on a device.
void allow_search();

}  // namespace gtn::cuda
