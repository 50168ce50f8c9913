// The part that the NEON kernels share: the shape of their tiles, and appending sums that reach a
// threshold.
// All of it lies in an anonymous namespace: an inline function compiled with a kernel's flags could
// be the copy that the linker keeps for everyone.
#pragma once

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 8;
constexpr int kPartLatents = 8;

// Appends the sums that reach their source's threshold. Out of line and fed from memory, so that
// the sums of the hot loop stay in registers.
__attribute__((noinline)) bool append(ScanTile* t, const int32_t* sums, int32_t position) {
  bool full = false;
  for (int r = 0; r < kTileSources; ++r, sums += kPartLatents) {
    for (int lane = 0; lane < kPartLatents; ++lane) {
      if (sums[lane] < t->threshold[r]) continue;
      t->hit_sums[r][t->hits[r]] = sums[lane];
      t->hit_positions[r][t->hits[r]] = position + lane;
      ++t->hits[r];
    }
    full = full || t->hits[r] > t->limit[r];
  }
  return full;
}

}  // namespace
}  // namespace gtn
