// Cells of latents by direction, on the device: the nearest of a few seeds (core/kmeans_pp.hpp),
// which the host finds in a sample. Found once a run; any cells give the same matching.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/kmeans_pp.hpp"
#include "core/parallel.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/rows_view.hpp"

namespace gtn::cuda {

constexpr int32_t kMostCells = kMostSeeds + 1;  // one is for strays

// Cells that so many latents may fall into.
inline int32_t most_cells(int64_t latents) {
  return latents < kFewestToSplit ? 1 : static_cast<int32_t>(most_seeds(latents)) + 1;
}

class Cells {
 public:
  Cells(Budget& budget, int32_t latents) : of_rank_(budget, latents, "cells") {}

  // Assigns all latents.
  void find(Budget& budget, const Problem& problem, Parallel& parallel, cudaStream_t stream);
  int32_t count() const { return count_; }
  const uint8_t* of_rank() const { return of_rank_.data(); }

 private:
  DeviceArray<uint8_t> of_rank_;
  int32_t count_ = 1;
};

}  // namespace gtn::cuda
