#include <algorithm>
#include <vector>

#include "cuda/cells.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int32_t kSeedsAtOnce = 16;
// Squared distances are summed as integers, so that threads in any order give the same cells.
constexpr float kUnit = 0x1p32f;

// Unit vectors of latents spread over all ranks. rows: [sample][dim]
__global__ void sample_kernel(Problem p, int32_t latents, int32_t sample, float* rows) {
  const int32_t i = static_cast<int32_t>(blockIdx.x);
  const auto rank = static_cast<int32_t>(int64_t{i} * latents / sample);
  const int32_t row = p.row_of_rank[rank];
  const double inverse = 1.0 / p.latent_norms[row];
  for (int64_t k = threadIdx.x; k < p.latents.dim; k += blockDim.x) {
    rows[i * p.latents.dim + k] = static_cast<float>(p.latents.at(row, k) * inverse);
  }
}

// The nearest seed of each latent, a warp a latent. A row is read, and made float32, once for
// several seeds.
__global__ void nearest_kernel(Problem p, int32_t latents, const float* middle, const float* seeds,
                               int32_t seed_count, uint8_t* cell, float* distance,
                               unsigned long long* total, int32_t* members) {
  const auto rank = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (rank >= latents) return;
  const int lane = threadIdx.x % kWarp;
  const int64_t dim = p.latents.dim;
  const int32_t row = p.row_of_rank[rank];
  const double inverse = 1.0 / p.latent_norms[row];
  float best = 0.0f;
  int32_t best_seed = -1;
  for (int32_t first = 0; first < seed_count; first += kSeedsAtOnce) {
    const int32_t last = seed_count - 1;
    float sums[kSeedsAtOnce] = {};
    for (int64_t k = lane; k < dim; k += kWarp) {
      const float v = static_cast<float>(p.latents.at(row, k) * inverse) - middle[k];
#pragma unroll
      for (int32_t i = 0; i < kSeedsAtOnce; ++i) {
        const float d = v - seeds[(first + i < last ? first + i : last) * dim + k];
        sums[i] += d * d;
      }
    }
#pragma unroll
    for (int32_t i = 0; i < kSeedsAtOnce; ++i) {
      float sum = sums[i];
      for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
      // (The last seed may come several times.)
      if (best_seed < 0 || sum < best) {
        best = sum;
        best_seed = first + i;
      }
    }
  }
  if (lane != 0) return;
  cell[rank] = static_cast<uint8_t>(best_seed);
  distance[rank] = best;
  atomicAdd(&total[best_seed], static_cast<unsigned long long>(best * kUnit));
  atomicAdd(&members[best_seed], 1);
}

// A stray would coarsen the codes of its whole cell: strays share one of their own.
__global__ void stray_kernel(int32_t latents, const float* distance,
                             const unsigned long long* total, const int32_t* members,
                             int32_t stray_cell, uint8_t* cell) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank >= latents) return;
  const int32_t c = cell[rank];
  const float mean = static_cast<float>(total[c]) / kUnit / static_cast<float>(members[c]);
  if (distance[rank] > static_cast<float>(kStray) * mean) {
    cell[rank] = static_cast<uint8_t>(stray_cell);
  }
}

}  // namespace

void Cells::find(Budget& budget, const Problem& problem, Parallel& parallel, cudaStream_t stream) {
  const auto latents = static_cast<int32_t>(of_rank_.size());
  check(cudaMemsetAsync(of_rank_.data(), 0, static_cast<size_t>(latents), stream), "cells");
  if (latents < kFewestToSplit) return;
  const int64_t dim = problem.latents.dim;
  const auto sample = static_cast<int32_t>(std::min<int64_t>(kSeedSample, latents / 8));
  std::vector<float> rows(static_cast<size_t>(sample * dim));
  {
    const DeviceArray<float> on_device(budget, sample * dim, "a sample for cells");
    launch(sample_kernel, dim3(static_cast<unsigned>(sample)), kThreads, 0, stream, problem,
           latents, sample, on_device.data());
    check(cudaMemcpyAsync(rows.data(), on_device.data(), rows.size() * sizeof(float),
                          cudaMemcpyDeviceToHost, stream),
          "reading a sample");
    check(cudaStreamSynchronize(stream), "reading a sample");
  }
  std::vector<double> sum(static_cast<size_t>(dim), 0.0);
  for (size_t i = 0; i < rows.size(); ++i) sum[i % sum.size()] += static_cast<double>(rows[i]);
  std::vector<float> middle(sum.size());
  for (size_t k = 0; k < sum.size(); ++k) middle[k] = static_cast<float>(sum[k] / sample);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] -= middle[i % middle.size()];
  const std::vector<float> seeds = kmeans_pp_seeds(rows, dim, latents, parallel);
  if (seeds.empty()) return;

  const auto seed_count = static_cast<int32_t>(seeds.size() / middle.size());
  const DeviceArray<float> seeds_there(budget, seed_count * dim, "seeds of cells");
  const DeviceArray<float> middle_there(budget, dim, "seeds of cells");
  const DeviceArray<float> distance(budget, latents, "distances to seeds");
  const DeviceArray<unsigned long long> total(budget, seed_count, "sizes of cells");
  const DeviceArray<int32_t> members(budget, seed_count, "sizes of cells");
  const auto bytes = [](const auto& v) { return v.size() * sizeof(v[0]); };
  check(cudaMemcpyAsync(seeds_there.data(), seeds.data(), bytes(seeds), cudaMemcpyHostToDevice,
                        stream),
        "writing seeds");
  check(cudaMemcpyAsync(middle_there.data(), middle.data(), bytes(middle), cudaMemcpyHostToDevice,
                        stream),
        "writing seeds");
  check(cudaMemsetAsync(total.data(), 0, static_cast<size_t>(seed_count) * 8, stream), "cells");
  check(cudaMemsetAsync(members.data(), 0, static_cast<size_t>(seed_count) * 4, stream), "cells");
  launch(nearest_kernel, dim3(static_cast<unsigned>((latents + kWarps - 1) / kWarps)), kThreads, 0,
         stream, problem, latents, middle_there.data(), seeds_there.data(), seed_count,
         of_rank_.data(), distance.data(), total.data(), members.data());
  launch(stray_kernel, dim3(static_cast<unsigned>((latents + kThreads - 1) / kThreads)), kThreads,
         0, stream, latents, distance.data(), static_cast<const unsigned long long*>(total.data()),
         static_cast<const int32_t*>(members.data()), seed_count, of_rank_.data());
  count_ = seed_count + 1;
  // The arrays of this function go with it.
  check(cudaStreamSynchronize(stream), "finding cells");
}

}  // namespace gtn::cuda
