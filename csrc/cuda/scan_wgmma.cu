// The scan on the tensor cores of 9.0 by wgmma, which read both operands from shared memory. Two
// warpgroups of a block take 256 sources by tiles of 128 latents; a thread of a third has bulk
// copies bring the codes (scan_bulk.hpp). Each warpgroup has two products of 64 sources, so that
// the sums of one are compared while the tensor cores are at the other. (Products that run on into
// the next tile would hide both, but the assembler follows none around a loop whose sums are read
// in it: it would wait after each.) Sources that are not there are multiplied all the same: with so
// few of them, the time that the latents take to arrive is longer.
#include "cuda/instructions.hpp"
#include "cuda/kernel_names.hpp"
#include "cuda/scan_bounds.hpp"
#include "cuda/scan_bulk.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {
namespace {

// Two warpgroups multiply, and the first thread of a third has the codes brought. Of the 168
// registers that each of so many threads has at first, the third gives most to the others.
constexpr int kMultiplying = 256;
constexpr int kThreads = kMultiplying + 128;
constexpr int kFewRegisters = 24, kManyRegisters = 240;
static_assert(128 * kFewRegisters + kMultiplying * kManyRegisters <= kThreads * 168);

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

  // Begins a chunk of 64 columns, or of 32, as a group of its own. (Fence and commit on both ways:
  // around a branch between them and a product the assembler would put more of its own.)
  __device__ void begin(uint32_t sources, uint32_t latents, bool first, bool whole) {
    if (whole) {
      wgmma_fence(sums);
      wgmma_64x128x32(sums, chunk_matrix(sources), chunk_matrix(latents), !first);
      wgmma_64x128x32(sums, chunk_matrix(sources + kStrideBytes),
                      chunk_matrix(latents + kStrideBytes), true);
      wgmma_commit();
    } else {
      wgmma_fence(sums);
      wgmma_64x128x32(sums, half_chunk_matrix(sources), half_chunk_matrix(latents), !first);
      wgmma_commit();
    }
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

// Says that this warp is done with a stage.
__device__ void release(const BulkRing& ring, int stage) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) barrier_arrive(ring.empty(stage));
}

#endif

template <class Largest>
__global__ void __launch_bounds__(kThreads, 1)
    scan_warpgroups(const ScanTask task, const ScanWalk walk, const ChunkPlan plan) {
#ifdef GTN_WGMMA
  const BulkRing ring(plan);
  ring.begin(kMultiplying / kWarp);
  // (By a shuffle the assembler knows that a warp goes one way.)
  if (__shfl_sync(kAllLanes, static_cast<int>(threadIdx.x), 0) >= kMultiplying) {
    give_registers<kFewRegisters>();
    if (threadIdx.x > kMultiplying) return;
    RingFiller filler(task, ring);
    for (int i = static_cast<int>(blockIdx.x); i < walk.items(); i += static_cast<int>(gridDim.x))
      filler.fill(walk.item(i));
    return;
  }
  take_registers<kManyRegisters>();

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int half = warp / 4;                                     // of the sources: this warpgroup's
  const int row = half * kTileSlots + warp % 4 * 16 + lane / 4;  // this thread's in both
  const int quarter = lane % 4;

  RingPlace at;
  for (int i = static_cast<int>(blockIdx.x); i < walk.items(); i += static_cast<int>(gridDim.x)) {
    const ScanItem item = walk.item(i);
    const int32_t source = item.source_tile * kSourceRows + row;

    Products<Largest> a{}, b{};
    for (int32_t superpanel = item.begin; superpanel < item.end; ++superpanel) {
      const int64_t group = int64_t{superpanel} * kTileGroups + quarter;
      a.forget();
      b.forget();
      for (int32_t tile = 0; tile < task.slots.tiles; ++tile) {
        const bool last = tile + 1 == task.slots.tiles;
        int before = 0;  // the stage of the last chunk
        for (int32_t chunk = 0; chunk < plan.chunks; ++chunk) {
          barrier_wait(ring.full(at.stage), at.parity);
          if (chunk == 0 && last) {
            a.ask(task, ring.groups(at.stage), quarter, source);
            b.ask(task, ring.groups(at.stage), quarter, source + kProductSources);
          }
          const int32_t width = chunk_width(task.stride, chunk);
          const bool whole = width == kChunk;
          const uint32_t codes = ring.sources(at.stage, chunk) + half * kLatentChunk;
          a.begin(codes, ring.latents(at.stage), chunk == 0, whole);
          b.begin(codes + kProductSources * width, ring.latents(at.stage), chunk == 0, whole);
          wgmma_wait<2>();  // the chunk before is multiplied
          if (chunk > 0) release(ring, before);
          before = at.stage;
          at.advance(plan.stages);
        }
        wgmma_wait<1>(a.sums);
        a.take(tile);
        if (last) a.write(task, group, source);
        wgmma_wait<0>(b.sums);
        release(ring, before);
        b.take(tile);
        if (last) b.write(task, group, source + kProductSources);
      }
    }
  }
#endif
}

void scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  const ChunkPlan plan = plan_chunks(task.stride, shared_limit() - kBarrierBytes);
  const auto kernel = task.others ? scan_warpgroups<LargestKeys> : scan_warpgroups<LargestSum>;
  launch_scan(kernel, kThreads, plan.shared() + kBarrierBytes, multiprocessors, stream, task, plan);
}

}  // namespace

const ScanKernel scan_wgmma = {kWgmma.name, kWgmma.description, 90, 90, scan,
                               kBuilt,      CodeOrder::tiles};

}  // namespace gtn::cuda
