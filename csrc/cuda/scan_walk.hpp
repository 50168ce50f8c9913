// The blocks of a scan share its work: a block takes items, each a tile of kSourceRows sources
// and a range of superpanels, so that it loads its sources once and walks the latents past them.
// Items of one range follow one another: blocks that run together read the same latents, once from
// memory and then from the second-level cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/host_device.hpp"
#include "cuda/scan.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {

struct ScanItem {
  int32_t source_tile;
  int32_t begin, end;  // superpanels
};

struct ScanWalk {
  int32_t source_tiles, superpanels;
  int32_t ranges;

  GTN_HD int32_t items() const { return source_tiles * ranges; }
  GTN_HD ScanItem item(int32_t i) const {
    const int32_t range = i / source_tiles;
    return {i % source_tiles, start(range), start(range + 1)};
  }
  // Begin of a range: the first few are one longer than the others.
  GTN_HD int32_t start(int32_t range) const {
    const int32_t longer = superpanels % ranges;
    return range * (superpanels / ranges) + (range < longer ? range : longer);
  }
};

// For `blocks` blocks that each take every blocks-th item: as many ranges as they can do in some
// number of rounds, and the number for which the last of them is done first.
inline ScanWalk share_scan(int32_t source_tiles, int32_t superpanels, int32_t tiles,
                           int32_t blocks) {
  constexpr int64_t kStartTiles = 4;  // an item's start takes about as long as so many tiles
  constexpr int32_t kMoreRounds = 16;
  const int32_t least = (source_tiles + blocks - 1) / blocks;
  ScanWalk best{source_tiles, superpanels, 1};
  int64_t best_cost = INT64_MAX;
  for (int64_t rounds = least; rounds < least + kMoreRounds; ++rounds) {
    const int64_t ranges = std::min<int64_t>(superpanels, rounds * blocks / source_tiles);
    const int64_t longest = (superpanels + ranges - 1) / ranges;
    const int64_t cost = rounds * (longest * tiles + kStartTiles);
    if (cost >= best_cost) continue;
    best_cost = cost;
    best.ranges = static_cast<int32_t>(ranges);
  }
  return best;
}

// A kernel of (task, walk, more...) on as many blocks as the device holds at once, or fewer.
template <class... Parameters, class... More>
void launch_scan(void (*kernel)(ScanTask, ScanWalk, Parameters...), int threads, int shared,
                 int multiprocessors, cudaStream_t stream, const ScanTask& task,
                 const More&... more) {
  allow_shared(kernel);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads,
                                                      static_cast<size_t>(shared)),
        "asking for the blocks of a multiprocessor");
  blocks = std::max(blocks, 1) * multiprocessors;  // none: the launch says why
  const int32_t source_tiles = (task.source_count + kSourceRows - 1) / kSourceRows;
  const ScanWalk walk = share_scan(source_tiles, task.superpanels, task.slots.tiles, blocks);
  launch(kernel, dim3(static_cast<unsigned>(std::min(blocks, walk.items()))),
         dim3(static_cast<unsigned>(threads)), static_cast<size_t>(shared), stream, task, walk,
         more...);
}

}  // namespace gtn::cuda
