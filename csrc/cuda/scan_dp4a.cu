// The scan by __dp4a, which every GPU has: plain, and what the other kernels are held to. A block
// takes 128 sources and a superpanel; a thread has four sources and one group, and multiplies all
// its members in a tile with them.
#include "cuda/kernel_names.hpp"
#include "cuda/largest_sums.hpp"
#include "cuda/scan.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

constexpr int kBlockSources = 128;
constexpr int kThreadSources = 4;
constexpr int kThreads = kTileGroups * kBlockSources / kThreadSources;
constexpr int kRow = kStrideBytes / kPiece;  // pieces of a row that are in shared memory at a time
constexpr int kPitch = kRow + 1;             // odd, so that eight rows lie in different banks

// One step: kStrideBytes codes of each row, as pieces.
struct Step {
  int4 sources[kBlockSources * kPitch];
  int4 latents[kTileSlots * kPitch];  // row member * kTileGroups + group: neighbours in a warp
};

__device__ int32_t multiply(int32_t sum, const int4& a, const int4& b) {
  return __dp4a(a.w, b.w, __dp4a(a.z, b.z, __dp4a(a.y, b.y, __dp4a(a.x, b.x, sum))));
}

__device__ void load_step(Step& step, const ScanTask& task, const int8_t* sources,
                          const int8_t* latents) {
  static_assert(kBlockSources == kTileSlots && kThreads == kTileSlots * kRow);
  const int row = static_cast<int>(threadIdx.x) / kRow, at = static_cast<int>(threadIdx.x) % kRow;
  const int64_t from = int64_t{row} * task.stride + at * kPiece;
  const Slots one_tile{1};
  const int latent_row =
      one_tile.member_of(row) * kTileGroups + static_cast<int>(one_tile.group_of(row));
  step.sources[row * kPitch + at] = *reinterpret_cast<const int4*>(sources + from);
  step.latents[latent_row * kPitch + at] = *reinterpret_cast<const int4*>(latents + from);
}

template <class Largest>
__global__ void __launch_bounds__(kThreads, 1) scan_blocks(const ScanTask task) {
  __shared__ Step step;
  const int in_superpanel = static_cast<int>(threadIdx.x) % kTileGroups;
  const int row = static_cast<int>(threadIdx.x) / kTileGroups;  // of every 32 sources
  constexpr int kApart = kBlockSources / kThreadSources;
  const auto superpanel = static_cast<int32_t>(blockIdx.x);
  const int32_t source = static_cast<int32_t>(blockIdx.y) * kBlockSources;
  const int8_t* sources = task.source_codes + int64_t{source} * task.stride;
  const int8_t* latents =
      task.latent_codes + int64_t{superpanel} * task.slots.superpanel_slots() * task.stride;

  Largest largest[kThreadSources];
  for (Largest& l : largest) l.forget();
  for (int32_t tile = 0; tile < task.slots.tiles; ++tile) {
    int32_t sums[kTileMembers][kThreadSources] = {};
    for (int32_t column = 0; column < task.stride; column += kStrideBytes) {
      __syncthreads();
      load_step(step, task, sources + column, latents + column);
      __syncthreads();
      for (int at = 0; at < kRow; ++at) {
        int4 codes[kThreadSources];
#pragma unroll
        for (int i = 0; i < kThreadSources; ++i)
          codes[i] = step.sources[(row + i * kApart) * kPitch + at];
#pragma unroll
        for (int member = 0; member < kTileMembers; ++member) {
          const int4 code = step.latents[(member * kTileGroups + in_superpanel) * kPitch + at];
#pragma unroll
          for (int i = 0; i < kThreadSources; ++i)
            sums[member][i] = multiply(sums[member][i], code, codes[i]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kThreadSources; ++i)
      largest[i].take([&](int j) { return SumPair{sums[2 * j][i], sums[2 * j + 1][i]}; }, tile);
    latents += int64_t{kTileSlots} * task.stride;
  }

  const int64_t groups = int64_t{task.superpanels} * kTileGroups;
  const int64_t group = int64_t{superpanel} * kTileGroups + in_superpanel;
  const GroupCode g = task.groups[group];
  for (int i = 0; i < kThreadSources; ++i) {
    const int32_t s = source + row + i * kApart;
    if (s >= task.source_count) break;
    const float base = task.base[int64_t{g.cell} * task.source_rows + s];
    const typename Largest::Place place(task, s * groups + group);
    place.write(largest[i].bound(base, g, task.sources[s]));
  }
}

void scan(const ScanTask& task, int /*multiprocessors*/, cudaStream_t stream) {
  const int32_t source_blocks = (task.source_count + kBlockSources - 1) / kBlockSources;
  launch(task.others ? scan_blocks<LargestKeys> : scan_blocks<LargestSum>,
         dim3(static_cast<unsigned>(task.superpanels), static_cast<unsigned>(source_blocks)),
         dim3(kThreads), 0, stream, task);
}

}  // namespace

const ScanKernel scan_dp4a = {kDp4a.name, kDp4a.description, 75, 0, scan};

}  // namespace gtn::cuda
