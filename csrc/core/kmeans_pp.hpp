// k-means++ seeding (Arthur and Vassilvitskii 2007): picks rows of a sample that stand for tight
// clusters, if there are any. The Lloyd iterations are left out: they change little for tight
// clusters. Backends that group latents by direction assign latents to the seeds themselves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"

namespace gtn {

constexpr int64_t kSeedSample = 4096;  // rows that are worth looking at
constexpr int64_t kMostSeeds = 128;
constexpr int64_t most_seeds(int64_t latents) {
  return std::clamp<int64_t>(latents / 256, 4, kMostSeeds);
}
constexpr int64_t kFewestToSplit = 2048;  // latents; below, a single cell is fast enough
constexpr double kStray = 9.0;  // squared distance to a seed, in means of its cell: of no cell

// Seeds for `latents` latents of which rows [sample, dim] are a sample of unit vectors less their
// mean. Returns [seeds, dim], empty if the latents are not worth splitting.
std::vector<float> kmeans_pp_seeds(const std::vector<float>& rows, int64_t dim, int64_t latents,
                                   Parallel& parallel);

float squared_distance(const float* a, const float* b, int64_t dim);

}  // namespace gtn
