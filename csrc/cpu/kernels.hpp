// Scan kernels: the innermost loop of the CPU backend, one file per instruction set, all behind one
// plain-pointer signature. This header is all that files with instruction-set flags may include of
// this project: an inline function compiled with their flags could be the copy the linker keeps.
//
// Layout. Latent codes lie in panels of 64 latents: [panel][step][64][4 bytes]; a step holds four
// int8 or two int16 dimensions. int8 latent codes are stored with 128 added (unsigned); `start`
// carries the correction -128 * sum(source codes). A tile is 6 sources: [6][steps][4 bytes],
// signed. Sums are int32 and exact: code scales are chosen so that no dot product leaves int32.
#pragma once

#include <stdint.h>

namespace gtn {

enum { kPanelLatents = 64, kTileSources = 6 };

struct ScanTile {
  const void* panels;
  int64_t panel_begin, panel_end;
  int32_t steps;
  const void* sources;                   // [6][steps][4 bytes]
  int32_t start[kTileSources];           // first value of each source's sums
  int32_t threshold[kTileSources];       // sums >= threshold are hits
  int32_t* hit_sums[kTileSources];       // where hits go: sum and position (panel * 64 + lane),
  int32_t* hit_positions[kTileSources];  // each with room for limit + 64 + 16 entries
  int32_t hits[kTileSources];            // entries present; advanced by the kernel
  int32_t limit[kTileSources];           // the kernel returns once hits > limit
};

// Scans panels from panel_begin; returns the panel to go on with (panel_end when done).
typedef int64_t (*ScanFn)(ScanTile* tile);

struct Kernel {
  const char* name;
  bool (*supported)();  // by this processor and operating system
  ScanFn scan_int8;
  ScanFn scan_int16;
  int32_t source_limit_int8;  // largest |source code| the int8 kernel takes without overflow
};

}  // namespace gtn
