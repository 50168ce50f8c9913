// Wide rows in shared memory, for scan_mma_wide.cu and scan_wgmma.cu: a block walks tiles of
// latents and in each tile chunks of 64 codes, one chunk a step. A ring of stages holds the latents
// of the steps to come. As many chunks of the sources as fit are loaded once and kept; the others
// come by in the stages, again for each tile.
//
// A chunk of a row is 64 bytes, four pieces of 16; piece p of row r lies at place p ^ (r / 2 % 4),
// the 64-byte swizzle of wgmma (code_order.hpp).
#pragma once

#include "cuda/instructions.hpp"
#include "cuda/scan.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {

constexpr int kLatentChunk = kTileSlots * kChunk, kSourceChunk = kSourceRows * kChunk;
constexpr int kChunkAlignment = 512;  // the swizzle repeats
constexpr int kMostStages = 4;

// Shared memory: kept chunks of sources, stages, groups of each stage's superpanel.
struct ChunkPlan {
  int32_t chunks, kept, stages;

  GTN_HD int32_t stage_bytes() const { return kLatentChunk + (kept < chunks ? kSourceChunk : 0); }
  GTN_HD int32_t stages_at() const { return kept * kSourceChunk; }
  GTN_HD int32_t groups_at() const { return stages_at() + stages * stage_bytes(); }
  GTN_HD int32_t bytes() const {
    return groups_at() + stages * kTileGroups * static_cast<int32_t>(sizeof(GroupCode));
  }
  GTN_HD int32_t shared() const { return bytes() + kChunkAlignment; }
};

// As many stages as there may be, or as fit `limit` bytes, and then as much of the sources as fits.
inline ChunkPlan plan_chunks(int32_t stride, int32_t limit) {
  const int32_t chunks = (stride + kChunk - 1) / kChunk;
  ChunkPlan plan{chunks, 0, kMostStages};
  while (plan.shared() > limit) --plan.stages;
  for (plan.kept = chunks; plan.shared() > limit;) --plan.kept;
  return plan;
}

#ifdef GTN_DEVICE_CODE

// Rows of a chunk from `address` on, for wgmma: PTX manual, "Matrix Descriptor Format". Bits 0 to
// 13: address / 16; 16 to 29: leading dimension byte offset, not used in swizzled K-major layouts;
// 32 to 45: stride dimension byte offset, from eight rows to the next eight, / 16; 49 to 51: base
// offset, 0 as patterns begin at multiples of 512 bytes; 62 and 63: the swizzle, 2 for 64 bytes and
// 3 for 32. The second 32 codes of a chunk begin 32 bytes on: the swizzle is one of addresses.
__device__ inline uint64_t chunk_matrix(uint32_t address) {
  return uint64_t{address >> 4} | uint64_t{1} << 16 | uint64_t{8 * kChunk >> 4} << 32 |
         uint64_t{2} << 62;
}
// The same of a chunk of 32 columns.
__device__ inline uint64_t half_chunk_matrix(uint32_t address) {
  return uint64_t{address >> 4} | uint64_t{1} << 16 | uint64_t{8 * kChunk / 2 >> 4} << 32 |
         uint64_t{3} << 62;
}

// Fills the stages, in order, and says what lies in them. For blocks of 256 threads.
class ChunkStream {
 public:
  __device__ ChunkStream(const ScanTask& task, const ChunkPlan& plan)
      : task_(task),
        plan_(plan),
        row_(static_cast<int>(threadIdx.x) / 4),
        piece_(static_cast<int>(threadIdx.x) % 4),
        offset_(static_cast<uint32_t>(piece_at(row_, piece_))) {
    unsigned char* memory = dynamic_shared();
    memory += -shared_address(memory) % kChunkAlignment;
    memory_ = shared_address(memory);
    groups_ = reinterpret_cast<GroupCode*>(memory + plan.groups_at());
  }

  // Begins an item: loads the sources that are kept. Nobody reads any more of the item before.
  __device__ void start(const ScanItem& item) {
    const int32_t first = item.source_tile * kSourceRows;
    rows_ = min(kSourceRows, (task_.source_count - first + 63) / 64 * 64);
    source_codes_ = task_.source_codes + int64_t{first} * task_.stride;
    tile_ = item.begin * task_.slots.tiles;
    end_ = item.end * task_.slots.tiles;
    chunk_ = stage_ = 0;
    for (int32_t c = 0; c < plan_.kept; ++c) load_sources(memory_ + c * kSourceChunk, c);
  }

  // The next step's chunks, as a group of copies; an empty one after the last step.
  __device__ void load_next() {
    if (tile_ < end_) {
      const uint32_t to = latents(stage_);
      load(to, task_.latent_codes + int64_t{tile_} * kTileSlots * task_.stride, kTileSlots, chunk_);
      if (chunk_ >= plan_.kept) load_sources(to + kLatentChunk, chunk_);
      if (chunk_ == 0 && threadIdx.x < kTileGroups)
        copy_async(shared_address(groups(stage_) + threadIdx.x),
                   task_.groups + int64_t{tile_ / task_.slots.tiles} * kTileGroups + threadIdx.x);
      if (++chunk_ == plan_.chunks) {
        chunk_ = 0;
        ++tile_;
      }
      stage_ = next(stage_);
    }
    copy_async_commit();
  }

  __device__ int next(int stage) const { return stage + 1 == plan_.stages ? 0 : stage + 1; }
  // Shared addresses of what a stage holds; of sources, those kept where they are.
  __device__ uint32_t latents(int stage) const {
    return memory_ + plan_.stages_at() + stage * plan_.stage_bytes();
  }
  __device__ uint32_t sources(int stage, int32_t chunk) const {
    return chunk < plan_.kept ? memory_ + chunk * kSourceChunk : latents(stage) + kLatentChunk;
  }
  // Taken from the tile whose first chunk the stage holds.
  __device__ GroupCode* groups(int stage) const { return groups_ + stage * kTileGroups; }

 private:
  // Chunk `chunk` of `rows` rows, a multiple of 64. What lies behind the last column stays as it
  // is.
  __device__ void load(uint32_t to, const int8_t* from, int rows, int32_t chunk) const {
    const int32_t column = chunk * kChunk + piece_ * 16;
    if (column >= task_.stride) return;
    from += int64_t{row_} * task_.stride + column;
#pragma unroll 2
    for (int r = 0; r < rows; r += 64, from += 64 * int64_t{task_.stride})
      copy_async(to + offset_ + r * kChunk, from);
  }
  // With zeros behind the last column.
  __device__ void load_sources(uint32_t to, int32_t chunk) const {
    load(to, source_codes_, rows_, chunk);
    if (chunk * kChunk + piece_ * 16 < task_.stride) return;
#pragma unroll 1
    for (int r = 0; r < rows_; r += 64) store_zeros(to + offset_ + r * kChunk);
  }

  const ScanTask& task_;
  const ChunkPlan& plan_;
  uint32_t memory_;  // shared address of the kept sources
  GroupCode* groups_;
  int row_, piece_;  // what this thread copies of every 64 rows
  uint32_t offset_;
  int rows_ = 0;  // of sources that are live, rounded up
  const int8_t* source_codes_ = nullptr;
  int32_t tile_ = 0, end_ = 0, chunk_ = 0;  // to be loaded next
  int stage_ = 0;
};

#endif

}  // namespace gtn::cuda
