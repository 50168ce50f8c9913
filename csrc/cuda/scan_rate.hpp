// How fast a device multiplies, copies and scans when nothing else happens: the ceilings that
// benchmarks hold the backend's times against. Not part of any matching.
#pragma once

#include <cstdint>

#include "cuda/scan.hpp"

namespace gtn::cuda {

// Measure the current device by its own clock: the median of runs after a warm-up, in about
// `seconds`. A multiply-add is two operations. They throw Error and OutOfMemory.

// Operations a second of the tensor cores alone, with operands at hand that are neither zero nor
// equal: by wgmma on 9.0, by mma.sync elsewhere (which on 10.0 is not the fastest way).
double int8_matrix_rate(double seconds);
double fp16_matrix_rate(double seconds);  // with float32 sums

// Bytes a second, those read and those written, of copies of `bytes` within the device's memory.
double copy_rate(int64_t bytes, double seconds);

// A kernel alone, over the superpanels that `latents` fill. Of dimensions only those asked for
// count, not what pads them.
struct ScanShape {
  int32_t dim;
  int64_t latents;
  int32_t sources, tiles;
  bool named = false;  // groups have names
};
struct ScanRate {
  double operations;  // a second
  double bytes;       // a second: codes of latents, each once for all sources, and bounds
};
ScanRate scan_rate(const ScanKernel& kernel, const ScanShape& shape, double seconds);

}  // namespace gtn::cuda
