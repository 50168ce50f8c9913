// Device-memory budget, and where rows and codes go when they do not fit. Pure arithmetic.
#pragma once

#include <cstdint>

namespace gtn::cuda {

struct PlanInput {
  int64_t latents;  // of the largest group
  int64_t all_latents;
  int64_t sources, dim;
  int64_t latent_bytes, source_bytes;  // of the rows; 0 where they lie on the device already
  int64_t depth;                       // entries of a list
  int64_t available;                   // bytes that may be taken
};

struct Plan {
  bool latents_mapped = false;  // rows stay in pinned memory of the host, read through the bus
  bool sources_mapped = false;
  bool codes_mapped = false;
  int32_t window = 0;  // sources at a time, 0: not even the smallest fits
  int64_t bytes = 0;   // that will be taken
};

// Counted in all plans for small arrays and for what arrays round up to, 256 bytes each. A run has
// one allocation (Budget::reserve): cudaMalloc rounds it up to 2 MB, of which what is free is a
// multiple.
constexpr int64_t kSpareBytes = int64_t{256} << 10;

// Keeps on the device what is read most often: first the codes, then the latents, then the sources;
// shrinks the window before it moves anything out.
Plan plan_for(const PlanInput& input);

// Bytes of the least that will do.
int64_t least_bytes(const PlanInput& input);

}  // namespace gtn::cuda
