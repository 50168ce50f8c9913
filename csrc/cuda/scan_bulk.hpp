// Tiles of codes on their way to shared memory, for scan_wgmma.cu: one thread of a block has bulk
// copies fill a ring of stages, a chunk of 64 columns a step, and warps take what arrived. Each
// stage has two barriers: `full` counts the bytes of a step, `empty` the warps that are done with
// it. Codes arrive as they lie (code_order.hpp) and nobody else writes there, so that no step needs
// a fence between ordinary writes and what wgmma reads. ChunkPlan says what lies where: chunks of
// sources that are kept come with the first tile of an item, the others with each.
#pragma once

#include "cuda/instructions.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_walk.hpp"

namespace gtn::cuda {

// Behind what a ChunkPlan has: two barriers a stage.
constexpr int kBarrierBytes = 2 * kMostStages * static_cast<int>(sizeof(uint64_t));

#ifdef GTN_WGMMA

// Where things lie in a block's shared memory.
class BulkRing {
 public:
  __device__ explicit BulkRing(const ChunkPlan& plan) : plan_(plan) {
    unsigned char* memory = dynamic_shared();
    memory += -shared_address(memory) % kChunkAlignment;
    memory_ = shared_address(memory);
    groups_ = reinterpret_cast<GroupCode*>(memory + plan.groups_at());
  }

  // Makes the barriers, by all threads of the block.
  __device__ void begin(int warps) const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < plan_.stages; ++s) {
        barrier_init(full(s), 1);
        barrier_init(empty(s), static_cast<uint32_t>(warps));
      }
      fence_async_proxy();
    }
    __syncthreads();
  }

  __device__ uint32_t full(int stage) const { return barriers() + stage * 8; }
  __device__ uint32_t empty(int stage) const { return barriers() + (kMostStages + stage) * 8; }
  // Shared addresses of what a stage holds; of sources, those kept where they are, two tiles.
  __device__ uint32_t latents(int stage) const {
    return memory_ + plan_.stages_at() + stage * plan_.stage_bytes();
  }
  __device__ uint32_t sources(int stage, int32_t chunk) const {
    return chunk < plan_.kept ? memory_ + chunk * kSourceChunk : latents(stage) + kLatentChunk;
  }
  // Come with the first chunk of a superpanel's last tile.
  __device__ GroupCode* groups(int stage) const { return groups_ + stage * kTileGroups; }

  __device__ const ChunkPlan& plan() const { return plan_; }

 private:
  __device__ uint32_t barriers() const { return memory_ + plan_.bytes(); }

  const ChunkPlan& plan_;
  uint32_t memory_;  // shared address of the kept sources
  GroupCode* groups_;
};

// A stage, and the phase that its barriers are in, as one who walks the ring sees them.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void advance(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Fills the stages, by one thread.
class RingFiller {
 public:
  __device__ RingFiller(const ScanTask& task, const BulkRing& ring) : task_(task), ring_(ring) {}

  // All steps of an item. Comes back when the warps are done with them, and with the sources.
  __device__ void fill(const ScanItem& item) {
    const int32_t first = item.source_tile * kSourceRows, stride = task_.stride;
    const int8_t* sources = task_.source_codes + int64_t{first} * stride;
    const int source_tiles = task_.source_count - first > kTileSlots ? 2 : 1;
    const int8_t* latents =
        task_.latent_codes + int64_t{item.begin} * task_.slots.superpanel_slots() * stride;
    for (int32_t superpanel = item.begin; superpanel < item.end; ++superpanel) {
      for (int32_t tile = 0; tile < task_.slots.tiles; ++tile) {
        const bool first_tile = superpanel == item.begin && tile == 0;
        for (int32_t chunk = 0; chunk < ring_.plan().chunks; ++chunk) {
          const uint32_t bytes = kTileSlots * chunk_width(stride, chunk);
          const int with_sources = first_tile || chunk >= ring_.plan().kept ? source_tiles : 0;
          const bool with_groups = chunk == 0 && tile + 1 == task_.slots.tiles;
          const int stage = take_stage();
          const uint32_t full = ring_.full(stage);
          barrier_arrive_expecting(full,
                                   (1 + with_sources) * bytes + (with_groups ? kGroupBytes : 0));
          copy_bulk(ring_.latents(stage), latents, bytes, full);
          latents += bytes;
          for (int t = 0; t < with_sources; ++t)
            copy_bulk(ring_.sources(stage, chunk) + t * kLatentChunk,
                      sources + int64_t{t} * kTileSlots * stride + chunk * kLatentChunk, bytes,
                      full);
          if (with_groups)
            copy_bulk(shared_address(ring_.groups(stage)),
                      task_.groups + int64_t{superpanel} * kTileGroups, kGroupBytes, full);
        }
      }
    }
    while (filled_ > 0) wait_for_oldest();
  }

 private:
  static constexpr uint32_t kGroupBytes = kTileGroups * sizeof(GroupCode);

  __device__ int take_stage() {
    if (filled_ == ring_.plan().stages) wait_for_oldest();
    ++filled_;
    const int stage = next_.stage;
    next_.advance(ring_.plan().stages);
    return stage;
  }
  __device__ void wait_for_oldest() {
    barrier_wait(ring_.empty(oldest_.stage), oldest_.parity);
    oldest_.advance(ring_.plan().stages);
    --filled_;
  }

  const ScanTask& task_;
  const BulkRing& ring_;
  RingPlace next_, oldest_;  // to be filled; to be waited for
  int filled_ = 0;           // stages that warps may still read
};

#endif

}  // namespace gtn::cuda
