// Kernels of optimal transport's search on a device (priced_cuda.hpp), which bound score - price of
// sources and latents in float32. Both sides are divided by lengths that no row exceeds, so that
// dot products are at most 1.
//
// A latent's code is its coordinates, rounded to float32. Its bias is an upper bound of what the
// dot product of two codes falls short of the contract's by, less the price: dot of codes + bias,
// rounded up, bounds score - price. Dot products add products in ascending order of coordinates,
// fused; both kernels get the same bits.
//
// Codes lie in tiles of 64 latents, in the order of ids: [tile][coordinate][latent], so that
// neighbours in a warp read neighbours in memory. Half a tile is a panel: the scan keeps of every
// panel its largest bound alone, and the selection opens the panels that can matter.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/host_device.hpp"
#include "core/score_grid.hpp"
#include "cuda/rows_view.hpp"

namespace gtn::cuda {

constexpr int kPricedTile = 64;   // latents
constexpr int kPricedPanel = 32;  // one for each lane of a warp
constexpr int kPricedStep = 16;   // codes are padded with zeros to multiples of so many coordinates

struct PricedTask {
  const float* codes;    // [tiles][stride][kPricedTile]
  const float* bias;     // [tiles * kPricedTile], -infinity past the last latent
  const float* sources;  // [source_count][stride]
  float* upper;          // [source_count][2 * tiles], largest bounds of panels
  int32_t latents;
  int32_t tiles;
  int32_t stride;  // coordinates of a row of codes
  int32_t source_count;
  int32_t depth;     // latents of a list, at most kMostPricedDepth
  uint64_t* keys;    // [source_count][depth], the list: descending bounds, ties by ascending id
  int32_t* lengths;  // [source_count], of lists; -1 where the two kernels disagree
  uint32_t*
      outside;  // [source_count], bound_of() it: no unlisted latent's is larger; 0: all are listed
  uint32_t turn;  // says which panel of each source is compared
};
constexpr int32_t kMostPricedDepth = 3072;

// A key holds a bound, as bits that order as bounds do, above the complement of an id.
GTN_HD inline int32_t id_of_key(uint64_t key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}
inline uint32_t order_of_key(uint64_t key) {
  return static_cast<uint32_t>(key >> 32);
}
float bound_of(uint32_t order);

// Scores of listed latents on the grid, by the contract's arithmetic.
struct PricedScores {
  RowsView latents;  // [latents][dim], by id
  RowsView sources;  // [source_count][dim]
  ScoreGrid grid;
  const uint64_t* keys;    // of PricedTask
  const int32_t* lengths;  // of PricedTask
  int32_t source_count;
  int32_t depth;
  int64_t* scores;  // [source_count][depth]
};

// A latent's new bias.
struct Repriced {
  int32_t id;
  float bias;
};

// Writes PricedTask::upper.
void write_priced_upper(const PricedTask& task, cudaStream_t stream);
// The same, to the bit, by the selection's own way to a bound: many times slower.
void write_plain_upper(const PricedTask& task, cudaStream_t stream);
// Writes lists, from bounds of panels.
void write_priced_lists(const PricedTask& task, cudaStream_t stream);
void write_priced_scores(const PricedScores& task, cudaStream_t stream);
void write_bias(const Repriced* changes, int32_t count, float* bias, cudaStream_t stream);

}  // namespace gtn::cuda
