// Exact kernels: the contract's arithmetic (contract.hpp) in bulk, one table of plain functions per
// instruction set. contract.cpp has the portable table, which is the reference; csrc/cpu has faster
// ones, which must give the same bits. This header is all that files with instruction-set flags may
// include of this project: an inline function compiled with their flags could be the copy the
// linker keeps.
#pragma once

#include <stdint.h>

namespace gtn {

// Dot products of `count` rows with one source. rows[i]: [dim] of float32 or float64, less `mean`
// unless that is null; source: [dim].
typedef void (*DotsFn)(const void* const* rows, int64_t count, const void* source,
                       const double* mean, int64_t dim, double* dots);

enum { kExactLanes = 8, kMostExactSources = 4 };

// Some sources against many latents, which lie in panels of eight: [panel][dim][8].
struct ExactTile {
  const double* panels;
  const double* norms;     // [panel][8]; NaN in lanes without a latent
  const double* inverses;  // [panel][8]: 1 / norm
  int64_t panel_begin, panel_end, dim;
  const double* sources;                      // [tile_sources][dim]
  double threshold[kMostExactSources];        // scores >= threshold are hits; +inf: no source here
  double* hit_scores[kMostExactSources];      // where hits go, with their position
  int32_t* hit_positions[kMostExactSources];  // (8 * panel + lane); room for limit + 8 entries
  int32_t hits[kMostExactSources];            // entries present; advanced by the kernel
  int32_t limit[kMostExactSources];           // the kernel returns once hits > limit
};

// Scans panels from panel_begin; returns the panel to go on with (panel_end when done).
typedef int64_t (*ExactScanFn)(ExactTile* tile);

struct ExactKernels {
  const char* name;
  DotsFn dots[2][2];  // [rows are float64][source is float64]
  ExactScanFn scan;
  int32_t tile_sources;  // sources a tile, at most kMostExactSources
};

// The reference, in contract.cpp: portable C++.
extern const ExactKernels exact_portable;

}  // namespace gtn
