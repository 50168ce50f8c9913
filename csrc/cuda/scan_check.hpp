// Checks a scan kernel against dp4a on random codes, bit for bit: the self-test of a run
// (kernel_trust.hpp) and the binding cuda_scan_check.
#pragma once

#include <cstdint>

#include "cuda/scan.hpp"

namespace gtn::cuda {

struct ScanCheckShape {
  int32_t dim;
  int64_t latents;  // filled up to whole superpanels
  int32_t sources;
  int32_t tiles;       // of a superpanel
  bool named = false;  // groups have names, and with each its others have a bound; of two tiles
  uint32_t seed = 1;
};

struct ScanCheck {
  int64_t bounds = 0;
  int64_t wrong = 0;
  // The first wrong one.
  int32_t source = -1;
  int32_t group = -1;
  float found = 0.0f;
  float expected = 0.0f;
};

// Compares all bounds, on the current device. Codes are random or at the ends of their range, of
// several cells, with dead latents and dead groups among them. Throws Error and OutOfMemory.
ScanCheck check_scan(const ScanKernel& kernel, const ScanCheckShape& shape, int multiprocessors,
                     cudaStream_t stream);

}  // namespace gtn::cuda
