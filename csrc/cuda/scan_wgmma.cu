// The scan on the tensor cores of 9.0 by wgmma, which read both operands from shared memory
// (scan_chunks.hpp). A block of two warpgroups takes 256 sources by tiles of 128 latents; each
// warpgroup has two products of 64 sources, so that the sums of one are compared while the tensor
// cores are at the other. (Products that run on into the next tile would hide both, but the
// assembler follows none around a loop whose sums are read in it: it would wait after each.)
// Sources that are not there are multiplied all the same: with so few of them, the time that the
// latents take to arrive is longer.
#include "cuda/instructions.hpp"
#include "cuda/kernel_names.hpp"
#include "cuda/scan_bounds.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;

// The kernel's body is empty in code for 9.0 that is not 9.0a: CMake says which was built.
#if defined(GTN_BUILT_90A) || defined(GTN_CUDA_EMULATED)
constexpr bool kBuilt = true;
#else
constexpr bool kBuilt = false;
#endif

#ifdef GTN_WGMMA

constexpr int kProductSources = 64;

// 64 sources of a warpgroup: as 64 x 128 sums, the largest so far of two halves of a tile and two
// rows of this thread, and what is needed for bounds.
template <class Largest>
struct Products {
  int32_t sums[64];
  Largest largest[2][2];
  ScanBounds<2> bounds[2];

  // Begins a chunk, as a group of its own.
  __device__ void begin(uint32_t sources, uint32_t latents, bool first) {
    wgmma_fence(sums);
    wgmma_64x128x32(sums, chunk_matrix(sources), chunk_matrix(latents), !first);
    wgmma_64x128x32(sums, chunk_matrix(sources + kStrideBytes),
                    chunk_matrix(latents + kStrideBytes), true);
    wgmma_commit();
  }
  __device__ void forget() {
#pragma unroll
    for (int i = 0; i < 4; ++i) largest[i / 2][i % 2].forget();
  }
  // Sums that are done.
  __device__ void take(int32_t tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int half = i / 2, h = i % 2;
      largest[half][h].take(
          [&](int j) {
            const int at = 4 * (8 * half + j) + 2 * h;
            return SumPair{sums[at], sums[at + 1]};
          },
          tile);
    }
  }
  __device__ void ask(const ScanTask& task, const GroupCode* groups, int quarter, int32_t source) {
#pragma unroll
    for (int half = 0; half < 2; ++half) bounds[half].ask(task, groups, half * 4 + quarter, source);
  }
  __device__ void write(const ScanTask& task, int64_t group, int32_t source) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      bounds[half].write(task, task.sources + source, largest[half], group + half * 4, source);
  }
};

// Waits for the stage of this step, and fills the one of the last step but one, whose products are
// done in all warps. (The device that has wgmma has room for all stages.)
__device__ void begin_step(ChunkStream& stream) {
  copy_async_wait<kMostStages - 3>();
  fence_async_proxy();
  __syncthreads();
  stream.load_next();
}

#endif

template <class Largest>
__global__ void __launch_bounds__(kThreads, 1)
    scan_warpgroups(const ScanTask task, const ScanWalk walk, const ChunkPlan plan) {
#ifdef GTN_WGMMA
  ChunkStream stream(task, plan);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  // First row of this warpgroup in the tile of sources, and this thread's row.
  constexpr int kApart = kProductSources;
  const int first_row = warp / 4 * 2 * kProductSources;
  const int row = first_row + warp % 4 * 16 + lane / 4;
  const int quarter = lane % 4;

  for (int i = static_cast<int>(blockIdx.x); i < walk.items(); i += static_cast<int>(gridDim.x)) {
    const ScanItem item = walk.item(i);
    const int32_t source = item.source_tile * kSourceRows + row;

    __syncthreads();  // all are done with the item before
    stream.start(item);
    for (int s = 0; s < kMostStages - 2; ++s) stream.load_next();

    Products<Largest> a{}, b{};
    int stage = 0;
    for (int32_t superpanel = item.begin; superpanel < item.end; ++superpanel) {
      const int64_t group = int64_t{superpanel} * kTileGroups + quarter;
      a.forget();
      b.forget();
      for (int32_t tile = 0; tile < task.slots.tiles; ++tile) {
        const bool last = tile + 1 == task.slots.tiles;
        for (int32_t chunk = 0; chunk < plan.chunks; ++chunk) {
          begin_step(stream);
          if (chunk == 0 && last) {
            a.ask(task, stream.groups(stage), quarter, source);
            b.ask(task, stream.groups(stage), quarter, source + kApart);
          }
          const uint32_t codes = stream.sources(stage, chunk) + first_row * kChunk;
          a.begin(codes, stream.latents(stage), chunk == 0);
          b.begin(codes + kApart * kChunk, stream.latents(stage), chunk == 0);
          wgmma_wait<2>();  // the step before is multiplied
          stage = stream.next(stage);
        }
        wgmma_wait<1>(a.sums);
        a.take(tile);
        if (last) a.write(task, group, source);
        wgmma_wait<0>(b.sums);
        b.take(tile);
        if (last) b.write(task, group, source + kApart);
      }
    }
  }
#endif
}

void scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  const ChunkPlan plan = plan_chunks(task.stride, shared_limit());
  const auto kernel = task.others ? scan_warpgroups<LargestKeys> : scan_warpgroups<LargestSum>;
  launch_scan(kernel, kThreads, plan.shared(), multiprocessors, stream, task, plan);
}

}  // namespace

const ScanKernel scan_wgmma = {kWgmma.name, kWgmma.description, 90, 90, scan, kBuilt};

}  // namespace gtn::cuda
