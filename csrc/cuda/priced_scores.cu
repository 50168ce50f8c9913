// Exact scores of listed latents, as integers of the grid: the contract's dot product, to the bit.
// The host would need most of an auction's time for these once searches are fast. A block a source,
// eight lanes a latent.
#include "cuda/priced_kernels.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = kThreads / kDotLanes;  // latents

__global__ void __launch_bounds__(kThreads) scores_kernel(const PricedScores t) {
  const auto source = static_cast<int32_t>(blockIdx.x);
  const int32_t length = t.lengths[source];  // -1 where bounds were wrong
  const int64_t list = int64_t{source} * t.depth;
  for (int32_t from = 0; from < length; from += kAtOnce) {
    const int32_t at = from + static_cast<int32_t>(threadIdx.x) / kDotLanes;
    // All lanes of a warp take part.
    const int32_t id = id_of_key(t.keys[list + (at < length ? at : 0)]);
    const double dot = dot_by_lanes(t.latents, id, t.sources, source);
    if (threadIdx.x % kDotLanes == 0 && at < length) t.scores[list + at] = t.grid.of(dot);
  }
}

}  // namespace

void write_priced_scores(const PricedScores& task, cudaStream_t stream) {
  launch(scores_kernel, dim3(static_cast<unsigned>(task.source_count)), dim3(kThreads), 0, stream,
         task);
}

}  // namespace gtn::cuda
