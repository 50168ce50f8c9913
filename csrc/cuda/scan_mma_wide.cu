// The scan on int8 tensor cores by mma.sync for wide rows, which do not fit registers: both
// operands come from shared memory, chunk by chunk (scan_chunks.hpp), and the sums of a tile stay
// in registers meanwhile. Block and warps as in scan_mma.cu.
#include "cuda/instructions.hpp"
#include "cuda/scan_bounds.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_mma_wide.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpSources = 64;

// 64 sources by 64 latents by 32 codes. Lane l names rows as load_matrices wants them.
__device__ void multiply_step(int32_t (&sums)[4][8][4], uint32_t sources, uint32_t latents) {
  uint32_t a[4][4];
#pragma unroll
  for (int m = 0; m < 4; ++m) load_matrices(a[m], sources + m * 16 * kChunk);
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {
    uint32_t b[4];
    load_matrices(b, latents + pair * 16 * kChunk);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      multiply_16x8x32(sums[m][2 * pair], a[m], b[0], b[1]);
      multiply_16x8x32(sums[m][2 * pair + 1], a[m], b[2], b[3]);
    }
  }
}

// Those of a tile into `largest`, and back to nothing.
template <class Largest>
__device__ void take_sums(Largest (&largest)[8], int32_t (&sums)[4][8][4], int32_t tile) {
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      largest[2 * m + h].take(
          [&](int j) {
            const SumPair two{sums[m][j][2 * h], sums[m][j][2 * h + 1]};
            sums[m][j][2 * h] = sums[m][j][2 * h + 1] = 0;
            return two;
          },
          tile);
    }
  }
}

__device__ void wait_for_stage(int stages) {
  switch (stages) {
    case 2:
      return copy_async_wait<0>();
    case 3:
      return copy_async_wait<1>();
    default:
      return copy_async_wait<2>();
  }
}

template <class Largest>
__global__ void __launch_bounds__(kThreads, 1)
    scan_wide(const ScanTask task, const ScanWalk walk, const ChunkPlan plan) {
  ChunkStream stream(task, plan);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int half = warp % 2;
  const int first_row = warp / 2 * kWarpSources;
  const int row = first_row + lane / 4;           // of the block's, the first of this thread
  const int in_superpanel = half * 4 + lane % 4;  // this thread's group
  // Matrices: 8 sources by 16 codes, the next 8 sources; the same of the next 16 codes.
  const auto source_row = static_cast<uint32_t>(piece_at(first_row + lane % 16, lane / 16));
  // Matrices: 8 latents by 16 codes, the next 16 codes; the same of the next 8 latents.
  const auto latent_row =
      static_cast<uint32_t>(piece_at(half * 64 + lane / 16 * 8 + lane % 8, lane / 8 % 2));

  for (int i = static_cast<int>(blockIdx.x); i < walk.items(); i += static_cast<int>(gridDim.x)) {
    const ScanItem item = walk.item(i);
    const int32_t source = item.source_tile * kSourceRows + row;
    const bool live = source - row + first_row < task.source_count;

    __syncthreads();  // all are done with the item before
    stream.start(item);
    for (int s = 0; s < plan.stages - 1; ++s) stream.load_next();

    int32_t sums[4][8][4] = {};
    Largest largest[8];
    ScanBounds<8> bounds;
    int stage = 0;
    for (int32_t superpanel = item.begin; superpanel < item.end; ++superpanel) {
#pragma unroll
      for (Largest& l : largest) l.forget();
      for (int32_t tile = 0; tile < task.slots.tiles; ++tile) {
        for (int32_t chunk = 0; chunk < plan.chunks; ++chunk) {
          wait_for_stage(plan.stages);
          __syncthreads();  // this step is there, the one before is read
          stream.load_next();
          if (live) {
            if (chunk == 0 && tile + 1 == task.slots.tiles)
              bounds.ask(task, stream.groups(stage), in_superpanel, source);
            const uint32_t a = stream.sources(stage, chunk) + source_row;
            const uint32_t b = stream.latents(stage) + latent_row;
            multiply_step(sums, a, b);
            multiply_step(sums, a ^ kStrideBytes, b ^ kStrideBytes);
          }
          stage = stream.next(stage);
        }
        if (live) take_sums(largest, sums, tile);
      }
      if (live)
        bounds.write(task, task.sources + source, largest,
                     int64_t{superpanel} * kTileGroups + in_superpanel, source);
    }
  }
}

}  // namespace

void scan_mma_wide(const ScanTask& task, int32_t limit, int multiprocessors, cudaStream_t stream) {
  const ChunkPlan plan = plan_chunks(task.stride, limit);
  const auto kernel = task.others ? scan_wide<LargestKeys> : scan_wide<LargestSum>;
  launch_scan(kernel, kThreads, plan.shared(), multiprocessors, stream, task, plan);
}

}  // namespace gtn::cuda
