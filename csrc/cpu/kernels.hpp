// Scan kernels: the innermost loop of the CPU backend, one file per instruction set, all behind one
// plain-pointer signature. This header is all that files with instruction-set flags may include of
// this project: an inline function compiled with their flags could be the copy the linker keeps.
//
// Layout. Latent codes lie in panels of 64 latents: [panel][step][64][4 bytes]; a step holds four
// int8 or two int16 dimensions. int8 latent codes are stored with 128 added (unsigned). A tile is
// the sources that a kernel takes at once: [tile_sources][source_steps][4 bytes], signed;
// source_steps is steps rounded up to the kernel's step_multiple, with zeros behind steps. A kernel
// may read source_steps - steps steps past the end of a panel (times those zeros): the memory is
// there.
//
// Sums are the dot products of the signed codes: int32 and exact, as code scales are chosen so that
// none leaves int32, and in int8 at most 2^14 a dimension. For int8, `start` is -128 * sum(source
// codes) modulo 2^32, which takes the 128 out again; for int16 it is 0.
#pragma once

#include <stdint.h>

namespace gtn {

enum { kPanelLatents = 64, kMostTileSources = 32, kMostStepMultiple = 16 };

struct ScanTile {
  const void* panels;
  int64_t panel_begin, panel_end;
  int32_t steps, source_steps;
  const void* sources;                       // [tile_sources][source_steps][4 bytes]
  int32_t start[kMostTileSources];           // correction of each source's sums
  int32_t threshold[kMostTileSources];       // sums >= threshold are hits
  int32_t* hit_sums[kMostTileSources];       // where hits go: sum and position (panel * 64 + lane),
  int32_t* hit_positions[kMostTileSources];  // each with room for limit + 64 + 16 entries
  int32_t hits[kMostTileSources];            // entries present; advanced by the kernel
  int32_t limit[kMostTileSources];           // the kernel returns once hits > limit
};

// Scans panels from panel_begin; returns the panel to go on with (panel_end when done).
typedef int64_t (*ScanFn)(ScanTile* tile);

struct ScanKernel {
  ScanFn scan;
  int32_t tile_sources;   // sources a tile, at most kMostTileSources
  int32_t step_multiple;  // of source_steps, at most kMostStepMultiple
};

struct Kernel {
  const char* name;
  ScanKernel int8;
  ScanKernel int16;           // scan is null in a file without one: instruction_sets.cpp lends one
  int32_t source_limit_int8;  // largest |source code| the int8 kernel takes without overflow
};

}  // namespace gtn
