// Largest bounds of panels for every source of a window: a matrix product in float32 of which only
// maxima are written.
#include "cuda/priced_kernels.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAcross = 16;                      // threads that share a tile's latents
constexpr int kDown = kThreads / kAcross;        // and those that share a block's sources
constexpr int kLatents = kPricedTile / kAcross;  // of a thread
constexpr int kPieces = kPricedStep / 4;         // loads of a row's step
static_assert(kLatents == 4 && kPricedStep * kPricedTile == 4 * kThreads);

// A block takes a tile and kDown * kSources sources, a thread kSources of these and four latents.
template <int kSources>
__global__ void __launch_bounds__(kThreads) upper_kernel(const PricedTask t) {
  constexpr int kBlockSources = kDown * kSources;
  constexpr int kPitch = kBlockSources + 4;
  __shared__ float4 latents[kPricedStep * kAcross];
  __shared__ float sources[kPricedStep * kPitch];
  const auto thread = static_cast<int>(threadIdx.x);
  const int across = thread % kAcross, down = thread / kAcross;
  const auto tile = static_cast<int32_t>(blockIdx.x);
  const int32_t first = static_cast<int32_t>(blockIdx.y) * kBlockSources;
  const float* codes = t.codes + int64_t{tile} * t.stride * kPricedTile;

  float sums[kSources][kLatents] = {};
  for (int32_t column = 0; column < t.stride; column += kPricedStep) {
    __syncthreads();
    latents[thread] =
        reinterpret_cast<const float4*>(codes + int64_t{column} * kPricedTile)[thread];
    for (int i = thread; i < kBlockSources * kPieces; i += kThreads) {
      const int row = i / kPieces, at = i % kPieces * 4;
      float4 v{0.0f, 0.0f, 0.0f, 0.0f};
      if (first + row < t.source_count) {
        v = *reinterpret_cast<const float4*>(t.sources + int64_t{first + row} * t.stride + column +
                                             at);
      }
      sources[at * kPitch + row] = v.x;
      sources[(at + 1) * kPitch + row] = v.y;
      sources[(at + 2) * kPitch + row] = v.z;
      sources[(at + 3) * kPitch + row] = v.w;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kPricedStep; ++k) {
      const float4 l = latents[k * kAcross + across];
#pragma unroll
      for (int s = 0; s < kSources; ++s) {
        const float y = sources[k * kPitch + down * kSources + s];
        sums[s][0] = __fmaf_rn(y, l.x, sums[s][0]);
        sums[s][1] = __fmaf_rn(y, l.y, sums[s][1]);
        sums[s][2] = __fmaf_rn(y, l.z, sums[s][2]);
        sums[s][3] = __fmaf_rn(y, l.w, sums[s][3]);
      }
    }
  }

  const float* bias = t.bias + int64_t{tile} * kPricedTile + across * kLatents;
#pragma unroll
  for (int s = 0; s < kSources; ++s) {
    float largest = __fadd_ru(sums[s][0], bias[0]);
#pragma unroll
    for (int l = 1; l < kLatents; ++l) largest = fmaxf(largest, __fadd_ru(sums[s][l], bias[l]));
    for (int apart = kPricedPanel / kLatents / 2; apart > 0; apart /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, apart));
    }
    const int32_t source = first + down * kSources + s;
    constexpr int kPanelThreads = kPricedPanel / kLatents;
    if (across % kPanelThreads == 0 && source < t.source_count) {
      t.upper[int64_t{source} * 2 * t.tiles + 2 * tile + across / kPanelThreads] = largest;
    }
  }
}

template <int kSources>
void scan(const PricedTask& t, cudaStream_t stream) {
  constexpr int kBlockSources = kDown * kSources;
  const int32_t blocks = (t.source_count + kBlockSources - 1) / kBlockSources;
  launch(upper_kernel<kSources>,
         dim3(static_cast<unsigned>(t.tiles), static_cast<unsigned>(blocks)), dim3(kThreads), 0,
         stream, t);
}

__global__ void bias_kernel(const Repriced* changes, int32_t count, float* bias) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) bias[changes[i].id] = changes[i].bias;
}

}  // namespace

void write_priced_upper(const PricedTask& task, cudaStream_t stream) {
  // An auction's rounds ask for 32 sources most of the time.
  task.source_count <= 2 * kDown ? scan<2>(task, stream) : scan<8>(task, stream);
}

void write_bias(const Repriced* changes, int32_t count, float* bias, cudaStream_t stream) {
  launch(bias_kernel, dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), kThreads, 0,
         stream, changes, count, bias);
}

}  // namespace gtn::cuda
