// Lists of a window's sources: of each the `depth` latents of largest bound, and the largest bound
// of all others. A block a source.
//
// A threshold that `depth` panels reach is one that `depth` latents reach, so panels below it stay
// closed. Of the others every latent's bound is computed again, and those that reach the threshold
// go to a buffer, which is cut to the `depth` best where it is full. One panel more, another in
// each search, is computed again to compare it with the scan's: that a scan that is wrong is
// noticed. Where one was, plain_kernel takes its place.
#include <bit>

#include "cuda/priced_kernels.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kOpened = 2 * kThreads;  // panels that are opened at once
constexpr int kLastBit = 8;            // of a threshold; what lower ones add is not worth a count
static_assert(kPricedPanel == kWarp);

// Bits that order as floats do; 0 is below all but NaN.
__device__ uint32_t ordered(float v) {
  const auto bits = static_cast<uint32_t>(__float_as_int(v));
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

struct Shared {
  int32_t counts[32];  // panels that reach a threshold, by the bit that it tries
  int32_t opened[kOpened];
  int32_t opened_count;
  int32_t kept;    // keys in the buffer
  uint32_t least;  // no latent below it can be listed
  uint32_t rest;   // the largest that is not listed, ordered
};

// Sorts `size` keys, a power of two, descending.
__device__ void sort_keys(uint64_t* keys, int32_t size) {
  for (int32_t run = 2; run <= size; run *= 2) {
    for (int32_t apart = run / 2; apart > 0; apart /= 2) {
      for (int32_t i = static_cast<int32_t>(threadIdx.x); i < size / 2; i += kThreads) {
        const int32_t a = i / apart * 2 * apart + i % apart, b = a + apart;
        const bool descending = (a & run) == 0;
        const uint64_t at_a = keys[a], at_b = keys[b];
        if ((at_a < at_b) == descending) {
          keys[a] = at_b;
          keys[b] = at_a;
        }
      }
      __syncthreads();
    }
  }
}

// Keeps the `depth` best keys, sorted.
__device__ void cut(Shared& shared, uint64_t* keys, int32_t room, int32_t depth) {
  __syncthreads();
  const int32_t kept = shared.kept;
  int32_t size = 2;
  while (size < kept) size *= 2;
  size = size < room ? size : room;
  for (int32_t i = kept + static_cast<int32_t>(threadIdx.x); i < size; i += kThreads) keys[i] = 0;
  __syncthreads();
  sort_keys(keys, size);
  if (threadIdx.x == 0 && kept >= depth) {
    if (kept > depth) {
      const auto cut_off = static_cast<uint32_t>(keys[depth] >> 32);
      atomicMax(&shared.rest, cut_off);
    }
    const auto last = static_cast<uint32_t>(keys[depth - 1] >> 32);
    if (last > shared.least) shared.least = last;
    shared.kept = depth;
  }
  __syncthreads();
}

// The bound of a latent of a panel; t.bias has room for those past the last.
__device__ float bound_in(const PricedTask& t, const float* source, int32_t panel, int32_t lane) {
  const float* code =
      t.codes + int64_t{panel / 2} * t.stride * kPricedTile + panel % 2 * kPricedPanel + lane;
  float sum = 0.0f;
  for (int32_t k = 0; k < t.stride; ++k) {
    sum = __fmaf_rn(source[k], code[int64_t{k} * kPricedTile], sum);
  }
  return __fadd_ru(sum, t.bias[panel * kPricedPanel + lane]);
}

// The largest bound of a panel, by one warp.
__device__ float largest_in(const PricedTask& t, const float* source, int32_t panel, int32_t lane) {
  float largest = bound_in(t, source, panel, lane);
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, apart));
  }
  return largest;
}

__global__ void __launch_bounds__(kThreads) plain_kernel(const PricedTask t) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t panel = static_cast<int32_t>(blockIdx.x) * kWarps + thread / kWarp;
  const auto source = static_cast<int32_t>(blockIdx.y);
  if (panel >= 2 * t.tiles) return;
  const float largest =
      largest_in(t, t.sources + int64_t{source} * t.stride, panel, thread % kWarp);
  if (thread % kWarp == 0) t.upper[int64_t{source} * 2 * t.tiles + panel] = largest;
}

__global__ void __launch_bounds__(kThreads) lists_kernel(const PricedTask t, int32_t room) {
  __shared__ Shared shared;
  auto* keys = reinterpret_cast<uint64_t*>(dynamic_shared());
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t warp = thread / kWarp, lane = thread % kWarp;
  const int32_t panels = 2 * t.tiles;
  const float* upper = t.upper + int64_t{blockIdx.x} * panels;
  const float* source = t.sources + int64_t{blockIdx.x} * t.stride;
  if (thread < 32) shared.counts[thread] = 0;
  if (thread == 0) {
    shared.opened_count = shared.kept = 0;
    shared.least = shared.rest = 0;
  }
  __syncthreads();

  uint32_t threshold = 0;
  for (int bit = 31; bit >= kLastBit && panels > t.depth; --bit) {
    const uint32_t tried = threshold | 1u << bit;
    int32_t reach = 0;
    for (int32_t p = thread; p < panels; p += kThreads) reach += ordered(upper[p]) >= tried;
    for (int apart = kWarp / 2; apart > 0; apart /= 2) {
      reach += __shfl_xor_sync(kAllLanes, reach, apart);
    }
    if (lane == 0) atomicAdd(&shared.counts[bit], reach);
    __syncthreads();
    if (shared.counts[bit] >= t.depth) threshold = tried;
    if (shared.counts[bit] == t.depth) break;
  }
  __syncthreads();
  if (thread == 0) shared.least = threshold;
  __syncthreads();

  uint32_t rest = 0;
  for (int32_t from = 0; from < panels; from += kThreads) {
    const int32_t p = from + thread;
    if (p < panels) {
      const uint32_t largest = ordered(upper[p]);
      if (largest >= shared.least) {
        shared.opened[atomicAdd(&shared.opened_count, 1)] = p;
      } else {
        rest = largest > rest ? largest : rest;
      }
    }
    __syncthreads();
    const int32_t opened = shared.opened_count;
    __syncthreads();
    if (opened + kThreads <= kOpened && from + kThreads < panels) continue;
    for (int32_t first = 0; first < opened; first += kWarps) {
      if (shared.kept > room - kThreads) cut(shared, keys, room, t.depth);
      const uint32_t least = shared.least;
      __syncthreads();
      if (first + warp < opened) {
        const int32_t panel = shared.opened[first + warp];
        const float value = bound_in(t, source, panel, lane);
        const int32_t id = panel * kPricedPanel + lane;
        if (id < t.latents) {
          const uint32_t bound = ordered(value);
          if (bound >= least) {
            keys[atomicAdd(&shared.kept, 1)] =
                static_cast<uint64_t>(bound) << 32 | static_cast<uint32_t>(~id);
          } else {
            rest = bound > rest ? bound : rest;
          }
        }
      }
      __syncthreads();
    }
    if (thread == 0) shared.opened_count = 0;
    __syncthreads();
  }
  atomicMax(&shared.rest, rest);
  cut(shared, keys, room, t.depth);

  bool agree = true;
  if (warp == 0) {
    const uint32_t mixed = (t.turn * 0x9E3779B9u ^ blockIdx.x) * 0x85EBCA6Bu;
    const auto panel = static_cast<int32_t>((mixed ^ mixed >> 15) % static_cast<uint32_t>(panels));
    agree = largest_in(t, source, panel, lane) == upper[panel];
  }
  for (int32_t i = thread; i < shared.kept; i += kThreads) {
    t.keys[int64_t{blockIdx.x} * t.depth + i] = keys[i];
  }
  if (thread == 0) {
    t.lengths[blockIdx.x] = agree ? shared.kept : -1;
    t.outside[blockIdx.x] = shared.rest;
  }
}

// Keys that a block's buffer holds, a power of two: it is cut where those of one round may not fit.
// Those of the deepest lists fit in the shared memory that every block has.
static_assert((kMostPricedDepth + 2 * kThreads) * sizeof(uint64_t) <= 32 << 10);
int32_t room_for(int32_t depth) {
  return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(depth + 2 * kThreads)));
}

}  // namespace

float bound_of(uint32_t order) {
  return std::bit_cast<float>(order >> 31 ? order & 0x7fffffffu : ~order);
}

void write_plain_upper(const PricedTask& task, cudaStream_t stream) {
  launch(plain_kernel,
         dim3(static_cast<unsigned>((2 * task.tiles + kWarps - 1) / kWarps),
              static_cast<unsigned>(task.source_count)),
         dim3(kThreads), 0, stream, task);
}

void write_priced_lists(const PricedTask& task, cudaStream_t stream) {
  const int32_t room = room_for(task.depth);
  launch(lists_kernel, dim3(static_cast<unsigned>(task.source_count)), dim3(kThreads),
         static_cast<size_t>(room) * sizeof(uint64_t), stream, task, room);
}

}  // namespace gtn::cuda
