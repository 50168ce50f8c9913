// The scan on int8 tensor cores by mma.sync, for rows of up to 256 codes; scan_mma_wide.cu has
// wider ones. A block of eight warps takes 256 sources by tiles of 128 latents, each warp 64 by 64.
// The sources' fragments stay in registers, so that shared memory is read for latents alone and
// sums live only until they are compared: the largest of each row and group are all that is kept.
#include "cuda/instructions.hpp"
#include "cuda/kernel_names.hpp"
#include "cuda/scan_bounds.hpp"
#include "cuda/scan_mma_wide.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
static_assert(kThreads == kSourceRows);
constexpr int kWarpSources = 64;
constexpr int kGroupBytes = sizeof(GroupCode);

// kSteps steps of 32 codes. A stage of the ring holds a tile of latents and its groups. Rows are an
// odd number of 16 bytes apart, so that eight of them lie in different banks.
template <int kSteps>
struct Narrow {
  static constexpr int kRow = kSteps * kStrideBytes;
  static constexpr int kPitch = kRow + 16;
  static constexpr int kGroupsAt = kTileSlots * kPitch;
  static constexpr int kStage = kGroupsAt + kTileGroups * kGroupBytes;
  // The most that fits the 64 KB of the smallest devices. The longer a tile takes, the fewer are
  // needed.
  static constexpr int kStages = kSteps <= 3 ? 4 : kSteps == 4 ? 3 : 2;
  static constexpr int kShared = kStages * kStage;
  // As many blocks of a multiprocessor, and as many pairs of 8 latents at once, as its registers
  // have room for.
  static constexpr int kBlocks = kSteps <= 2 ? 2 : 1;
  static constexpr int kPairs = kSteps >= 3 && kSteps <= 6 ? 2 : 1;
};

// Fills the stages with the tiles of an item, in order.
template <int kSteps>
class TileStream {
  using Shape = Narrow<kSteps>;

 public:
  __device__ TileStream(const ScanTask& task, const ScanItem& item, uint32_t ring)
      : from_(task.latent_codes +
              (int64_t{item.begin} * task.slots.superpanel_slots() + row()) * Shape::kRow +
              piece() * 16),
        groups_(task.groups + int64_t{item.begin} * kTileGroups),
        to_(ring),
        left_((item.end - item.begin) * task.slots.tiles) {}

  // The next tile, as a group of copies; an empty one after the last.
  __device__ void load_next(int stage, int tiles) {
    if (left_ > 0) {
      const uint32_t to = to_ + stage * Shape::kStage;
      const uint32_t to_row = to + row() * Shape::kPitch + piece() * 16;
#pragma unroll
      for (int r = 0; r < kTileSlots; r += kThreads / 4) {
#pragma unroll
        for (int at = 0; at < Shape::kRow; at += 64) {
          if (at + 64 <= Shape::kRow || piece() < 2)
            copy_async(to_row + r * Shape::kPitch + at, from_ + r * Shape::kRow + at);
        }
      }
      if (threadIdx.x < kTileGroups)
        copy_async(to + Shape::kGroupsAt + threadIdx.x * kGroupBytes, groups_ + threadIdx.x);
      from_ += kTileSlots * Shape::kRow;
      --left_;
      if (++in_tile_ == tiles) {
        groups_ += kTileGroups;
        in_tile_ = 0;
      }
    }
    copy_async_commit();
  }

 private:
  // This thread copies 16 bytes of every 64 rows and every 64 bytes of a row.
  __device__ static int row() { return static_cast<int>(threadIdx.x) / 4; }
  __device__ static int piece() { return static_cast<int>(threadIdx.x) % 4; }

  const int8_t* from_;
  const GroupCode* groups_;
  uint32_t to_;
  int32_t left_;
  int32_t in_tile_ = 0;
};

// Fragments of 64 sources from `codes` on, as multiply_16x8x32 wants them.
template <int kSteps>
__device__ void load_sources(uint32_t (&a)[4][kSteps][4], const int8_t* codes, int lane) {
  constexpr int kRow = Narrow<kSteps>::kRow;
  codes += lane / 4 * kRow + lane % 4 * 4;
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int8_t* from = codes + (16 * m + 8 * (i % 2)) * kRow + 32 * k + 16 * (i / 2);
        a[m][k][i] = __ldg(reinterpret_cast<const unsigned*>(from));
      }
    }
  }
}

// 64 sources by twice 8 latents, whose rows lane l names as load_matrices wants them.
template <int kSteps>
__device__ void compare_pair(LargestSum (&largest)[8], const uint32_t (&a)[4][kSteps][4],
                             uint32_t latents) {
  int32_t sums[2][4][4] = {};
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    uint32_t b[4];
    load_matrices(b, latents + k * kStrideBytes);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      multiply_16x8x32(sums[0][m], a[m][k], b[0], b[1]);
      multiply_16x8x32(sums[1][m], a[m][k], b[2], b[3]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int32_t *first = sums[0][i / 2] + i % 2 * 2, *second = sums[1][i / 2] + i % 2 * 2;
    largest[i].sum = max3(max3(largest[i].sum, first[0], first[1]), second[0], second[1]);
  }
}

// 64 sources by 64 latents.
template <int kSteps>
__device__ void compare_tile(LargestSum (&largest)[8], const uint32_t (&a)[4][kSteps][4],
                             uint32_t latents) {
  constexpr int kPairs = Narrow<kSteps>::kPairs;
#pragma unroll 1
  for (int first = 0; first < 4; first += kPairs) {
#pragma unroll
    for (int pair = first; pair < first + kPairs; ++pair)
      compare_pair<kSteps>(largest, a, latents + pair * 16 * Narrow<kSteps>::kPitch);
  }
}

template <int kSteps>
__global__ void __launch_bounds__(kThreads, Narrow<kSteps>::kBlocks)
    scan_narrow(const ScanTask task, const ScanWalk walk) {
  using Shape = Narrow<kSteps>;
  __shared__ SourceCode sources[kSourceRows];
  unsigned char* ring = dynamic_shared();
  const uint32_t ring_address = shared_address(ring);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int half = warp % 2;
  const int first_row = warp / 2 * kWarpSources;
  const int row = first_row + lane / 4;           // of the block's, the first of this thread
  const int in_superpanel = half * 4 + lane % 4;  // this thread's group
  // Matrices: 8 latents by 16 codes, the next 16 codes; the same of the next 8 latents.
  const uint32_t matrix_row =
      (half * 64 + lane / 16 * 8 + lane % 8) * Shape::kPitch + lane / 8 % 2 * 16;

  for (int i = static_cast<int>(blockIdx.x); i < walk.items(); i += static_cast<int>(gridDim.x)) {
    const ScanItem item = walk.item(i);
    const int32_t source = item.source_tile * kSourceRows + row;
    const bool live = source - row + first_row < task.source_count;

    __syncthreads();  // all are done with the item before
    TileStream<kSteps> stream(task, item, ring_address);
    for (int s = 0; s < Shape::kStages - 1; ++s) stream.load_next(s, task.slots.tiles);
    sources[threadIdx.x] = task.sources[item.source_tile * kSourceRows + threadIdx.x];
    uint32_t a[4][kSteps][4];
    load_sources<kSteps>(a, task.source_codes + int64_t{source - lane / 4} * Shape::kRow, lane);

    LargestSum largest[8];
    ScanBounds<8> bounds;
    int stage = 0;
    for (int32_t superpanel = item.begin; superpanel < item.end; ++superpanel) {
#pragma unroll
      for (LargestSum& l : largest) l.forget();
      for (int32_t tile = 0; tile < task.slots.tiles; ++tile) {
        copy_async_wait<Shape::kStages - 2>();
        __syncthreads();  // this tile is there, the one before is read
        stream.load_next(stage == 0 ? Shape::kStages - 1 : stage - 1, task.slots.tiles);
        if (live) {
          if (tile + 1 == task.slots.tiles) {
            const auto* groups =
                reinterpret_cast<const GroupCode*>(ring + stage * Shape::kStage + Shape::kGroupsAt);
            bounds.ask(task, groups, in_superpanel, source);
          }
          compare_tile<kSteps>(largest, a, ring_address + stage * Shape::kStage + matrix_row);
        }
        stage = stage + 1 == Shape::kStages ? 0 : stage + 1;
      }
      if (live)
        bounds.write(task, sources + row, largest,
                     int64_t{superpanel} * kTileGroups + in_superpanel, source);
    }
  }
}

template <int kSteps>
void scan_steps(const ScanTask& task, int32_t limit, int multiprocessors, cudaStream_t stream) {
  using Shape = Narrow<kSteps>;
  if (Shape::kShared + static_cast<int>(sizeof(SourceCode)) * kSourceRows > limit)
    return scan_mma_wide(task, limit, multiprocessors, stream);
  launch_scan(scan_narrow<kSteps>, kThreads, Shape::kShared, multiprocessors, stream, task);
}

void scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  constexpr decltype(&scan_mma_wide) kBySteps[] = {scan_steps<1>, scan_steps<2>, scan_steps<3>,
                                                   scan_steps<4>, scan_steps<5>, scan_steps<6>,
                                                   scan_steps<7>, scan_steps<8>};
  const int32_t steps = task.stride / kStrideBytes;
  const auto scan_any = steps <= 8 && !task.others ? kBySteps[steps - 1] : scan_mma_wide;
  scan_any(task, shared_limit(), multiprocessors, stream);
}

}  // namespace

const ScanKernel scan_mma = {kMma.name, kMma.description, 75, 0, scan};

}  // namespace gtn::cuda
