// A scan in the plainest way, one thread a source and group.
#include "cuda/scan.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

__global__ void plain_kernel(ScanTask t) {
  const int64_t groups = int64_t{t.superpanels} * kTileGroups;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= groups * t.source_count) return;
  const int64_t s = i / groups, g = i % groups;
  int32_t most = INT32_MIN;
  for (int32_t m = 0; m < t.slots.group_members(); ++m) {
    const int8_t* a = t.latent_codes + t.slots.slot_of(g, m) * t.stride;
    const int8_t* b = t.source_codes + s * t.stride;
    int32_t sum = 0;
    for (int32_t k = 0; k < t.stride; ++k) sum += a[k] * b[k];
    if (sum > most) most = sum;
  }
  const float base = t.base[int64_t{t.groups[g].cell} * t.source_rows + s];
  t.upper[i] = upper_cosine(most, base, t.groups[g], t.sources[s]);
}

void scan(const ScanTask& t, int, cudaStream_t stream) {
  const int64_t pairs = int64_t{t.superpanels} * kTileGroups * t.source_count;
  launch(plain_kernel, dim3(static_cast<unsigned>((pairs + 255) / 256)), 256, 0, stream, t);
}

}  // namespace

const ScanKernel scan_dp4a{"dp4a", "", 75, 0, scan};
const ScanKernel scan_mma{"mma", "", 75, 0, scan};
const ScanKernel scan_wgmma{"wgmma", "", 90, 90, scan};

}  // namespace gtn::cuda
