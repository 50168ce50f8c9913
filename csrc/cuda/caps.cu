#include <cfloat>
#include <cmath>

#include "core/contract.hpp"
#include "cuda/caps.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kCapEntries = kCapDims + 2;
constexpr int kSourceTile = 16;
constexpr int64_t kWidthSample = 4096;  // latents of a segment that say where it is widest

// Positions of a segment: the count divided as evenly as it goes.
struct Segments {
  int64_t latents;
  int64_t count;
  GTN_HD int64_t begin(int64_t segment) const { return (segment * latents + count - 1) / count; }
  GTN_HD int64_t of(int64_t position) const { return position * count / latents; }
};

__global__ void units_kernel(Problem p, int32_t latents, float* units) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= latents * p.latents.dim) return;
  const int32_t row = p.row_of_rank[i / p.latents.dim];
  units[i] = static_cast<float>(p.latents.at(row, i % p.latents.dim) / p.latent_norms[row]);
}

// A block a segment: the dimension in which its latents spread most.
__global__ void axes_kernel(const float* units, const int32_t* ranks, Segments segments,
                            int32_t dim, int32_t* axes) {
  __shared__ float least[kThreads], most[kThreads];
  const int64_t begin = segments.begin(blockIdx.x);
  const int64_t size = segments.begin(int64_t{blockIdx.x} + 1) - begin;
  const int64_t sample = size < kWidthSample ? size : kWidthSample;
  float widest = -1.0f;
  int32_t axis = 0;
  for (int32_t k = 0; k < dim; ++k) {
    float low = FLT_MAX, high = -FLT_MAX;
    for (int64_t i = threadIdx.x; i < sample; i += kThreads) {
      const float v = units[int64_t{ranks[begin + i * size / sample]} * dim + k];
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    least[threadIdx.x] = low;
    most[threadIdx.x] = high;
    __syncthreads();
    for (unsigned step = kThreads / 2; step > 0; step /= 2) {
      if (threadIdx.x < step) {
        const float other_low = least[threadIdx.x + step], other_high = most[threadIdx.x + step];
        if (other_low < least[threadIdx.x]) least[threadIdx.x] = other_low;
        if (other_high > most[threadIdx.x]) most[threadIdx.x] = other_high;
      }
      __syncthreads();
    }
    const float width = most[0] - least[0];
    if (width > widest) {
      widest = width;
      axis = k;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) axes[blockIdx.x] = axis;
}

// Keys that sort by segment, then along the segment's axis.
__global__ void split_keys_kernel(const float* units, const int32_t* ranks, Segments segments,
                                  int32_t dim, const int32_t* axes, uint64_t* keys) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= segments.latents) return;
  const int64_t segment = segments.of(i);
  const int32_t bits = __float_as_int(units[int64_t{ranks[i]} * dim + axes[segment]]);
  // Negative floats order the other way round.
  const uint32_t key = static_cast<uint32_t>(bits) ^ (bits < 0 ? 0xffffffffu : 0x80000000u);
  keys[i] = static_cast<uint64_t>(segment) << 32 | key;
}

struct CapTask {
  Problem problem;
  const int32_t* order;
  Segments segments;
  double slack;
  double* centres;
  int32_t* ranks;
  int32_t* low_rank;
  int32_t* group_of_rank;
  int32_t* left;
};

__device__ double unit_at(const Problem& p, int32_t rank, int64_t k) {
  const int32_t row = p.row_of_rank[rank];
  return p.latents.at(row, k) / p.latent_norms[row];
}

// A warp a group.
__global__ void caps_kernel(CapTask t) {
  const int64_t group = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (group >= t.segments.count) return;
  const auto dim = static_cast<int>(t.problem.latents.dim);
  const int64_t begin = t.segments.begin(group);
  const auto size = static_cast<int32_t>(t.segments.begin(group + 1) - begin);
  double centre[kCapDims];
  double squared = 0.0;
  for (int k = 0; k < kCapDims; ++k) {
    double sum = 0.0;
    if (k < dim) {
      for (int32_t m = lane; m < size; m += kWarp) sum += unit_at(t.problem, t.order[begin + m], k);
      for (int step = kWarp / 2; step > 0; step /= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, step);
      }
    }
    centre[k] = sum;
    squared += sum * sum;
  }
  // Members all around leave no direction: any is as good.
  const bool none = !(squared > 1e-20);
  const double scale = none ? 0.0 : 1.0 / sqrt(squared);
  for (int k = 0; k < kCapDims; ++k) centre[k] = none ? (k == 0 ? 1.0 : 0.0) : centre[k] * scale;
  double cosine = 1.0;
  int32_t lowest = INT32_MAX;
  for (int32_t m = lane; m < kMostMembers; m += kWarp) {
    const int32_t rank = m < size ? t.order[begin + m] : -1;
    t.ranks[group * kMostMembers + m] = rank;
    if (rank < 0) continue;
    t.group_of_rank[rank] = static_cast<int32_t>(group);
    lowest = rank < lowest ? rank : lowest;
    double sum = 0.0;
    for (int k = 0; k < kCapDims; ++k) {
      if (k < dim) sum += unit_at(t.problem, rank, k) * centre[k];
    }
    cosine = sum < cosine ? sum : cosine;
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, cosine, step);
    cosine = other < cosine ? other : cosine;
    const int32_t other_rank = __shfl_xor_sync(kAllLanes, lowest, step);
    lowest = other_rank < lowest ? other_rank : lowest;
  }
  if (lane != 0) return;
  cosine -= t.slack;
  if (cosine < -1.0) cosine = -1.0;
  double* out = t.centres + group * kCapEntries;
  for (int k = 0; k < kCapDims; ++k) out[k] = centre[k];
  out[kCapDims] = cosine;
  out[kCapDims + 1] = sqrt((1.0 - cosine) * (1.0 + cosine));
  t.low_rank[group] = lowest;
  t.left[group] = size;
}

__global__ void remove_kernel(const int32_t* taken, int32_t count, const int32_t* group_of_rank,
                              int32_t* left) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count && taken[i] >= 0) atomicAdd(&left[group_of_rank[taken[i]]], -1);
}

struct UpperTask {
  Problem problem;
  const int32_t* rows;
  int32_t sources;
  const double* centres;
  const int32_t* left;
  int32_t groups;
  double slack;
  bool one_exact_dim;  // scores are +-|y|, to the bit
  float* upper;
};

// Threads along groups, a tile of sources a block. Few float64 instructions: most devices have
// little of that.
__global__ void upper_kernel(UpperTask t) {
  __shared__ double units[kSourceTile][kCapDims];
  const auto dim = static_cast<int>(t.problem.sources.dim);
  const auto first = static_cast<int32_t>(blockIdx.y) * kSourceTile;
  const int32_t tile = t.sources - first < kSourceTile ? t.sources - first : kSourceTile;
  if (threadIdx.x < kSourceTile * kCapDims) {
    const auto i = static_cast<int32_t>(threadIdx.x) / kCapDims;
    const int k = static_cast<int>(threadIdx.x) % kCapDims;
    double v = 0.0;
    if (i < tile && k < dim) {
      const int32_t row = t.rows[first + i];
      v = t.problem.sources.at(row, k) / t.problem.source_norms[row];
    }
    units[i][k] = v;
  }
  __syncthreads();
  const int64_t group = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (group >= t.groups) return;
  if (t.left[group] == 0) {  // nobody is below any score
    for (int32_t i = 0; i < tile; ++i) t.upper[int64_t{first + i} * t.groups + group] = -INFINITY;
    return;
  }
  double cap[kCapEntries];
  for (int k = 0; k < kCapEntries; ++k) cap[k] = t.centres[group * kCapEntries + k];
  for (int32_t i = 0; i < tile; ++i) {
    double cosine = 0.0;
#pragma unroll
    for (int k = 0; k < kCapDims; ++k) {
      if (k < dim) cosine += units[i][k] * cap[k];
    }
    float upper;
    if (t.one_exact_dim) {
      upper = cosine >= cap[kCapDims] ? 1.0f : -1.0f;
    } else {
      cosine += t.slack;
      double edge = 1.0;
      if (cosine < cap[kCapDims]) {
        // The sine from (1 - c)(1 + c): nothing cancels that was not given. Rounded up in float32,
        // which raises the edge by about what the result's own rounding does, or less.
        const double squared = cosine > -1.0 ? (1.0 - cosine) * (1.0 + cosine) : 0.0;
        const float sine = __fsqrt_ru(__double2float_ru(squared));
        edge = cosine * cap[kCapDims] + static_cast<double>(sine) * cap[kCapDims + 1];
      }
      upper = __double2float_ru(edge + t.slack);
    }
    t.upper[int64_t{first + i} * t.groups + group] = upper;
  }
}

dim3 threads(int64_t count) {
  return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads));
}

double slack_for(int64_t dim) {
  return 8.0 * rounding_slack(dim);
}

// A power of two, so that every split is by one plane.
int64_t groups_for(int64_t latents) {
  int64_t count = 1;
  while ((latents + count - 1) / count > kMostMembers) count *= 2;
  return count;
}

}  // namespace

int64_t CapBounds::most_groups(int64_t latents) {
  return groups_for(latents);
}

CapBounds::CapBounds(Budget& budget, const Problem& problem, int32_t latents, cudaStream_t stream)
    : problem_(problem), stream_(stream) {
  const int64_t groups = most_groups(latents);
  units_ = DeviceArray<float>(budget, latents * problem.latents.dim, "unit vectors");
  axes_ = DeviceArray<int32_t>(budget, groups, "groups");
  centres_ = DeviceArray<double>(budget, groups * kCapEntries, "centres of groups");
  ranks_ = DeviceArray<int32_t>(budget, groups * kMostMembers, "groups");
  low_rank_ = DeviceArray<int32_t>(budget, groups, "groups");
  group_of_rank_ = DeviceArray<int32_t>(budget, latents, "groups of latents");
  left_ = DeviceArray<int32_t>(budget, groups, "groups");
  launch(units_kernel, threads(latents * problem.latents.dim), kThreads, 0, stream_, problem_,
         latents, units_.data());
}

void CapBounds::lay_out(int32_t count, Sorter& sorter) {
  const auto dim = static_cast<int32_t>(problem_.latents.dim);
  const int64_t groups = groups_for(count);
  int bits = 32;
  for (int64_t segments = 1; segments < groups; segments *= 2, ++bits) {
    const Segments now{count, segments};
    launch(axes_kernel, dim3(static_cast<unsigned>(segments)), kThreads, 0, stream_, units_.data(),
           sorter.values(), now, dim, axes_.data());
    launch(split_keys_kernel, threads(count), kThreads, 0, stream_, units_.data(), sorter.values(),
           now, dim, axes_.data(), sorter.keys());
    sorter.sort(count, bits, stream_);
  }
  groups_ = static_cast<int32_t>(groups);
  const CapTask task{problem_,         sorter.values(),       {count, groups},
                     slack_for(dim),   centres_.data(),       ranks_.data(),
                     low_rank_.data(), group_of_rank_.data(), left_.data()};
  launch(caps_kernel, threads(groups * kWarp), kThreads, 0, stream_, task);
}

void CapBounds::remove(const int32_t* ranks, int32_t count) {
  launch(remove_kernel, threads(count), kThreads, 0, stream_, ranks, count, group_of_rank_.data(),
         left_.data());
}

Groups CapBounds::groups() const {
  return {groups_, kMostMembers, ranks_.data(), low_rank_.data()};
}

void CapBounds::write_upper(const Window& window, const Uppers& out) {
  const Problem& p = problem_;
  const bool exact = p.latents.dim == 1 && !p.latents.f64 && !p.latents.mean && !p.sources.f64;
  const UpperTask task{p,
                       window.rows,
                       window.count,
                       centres_.data(),
                       left_.data(),
                       groups_,
                       slack_for(p.latents.dim),
                       exact,
                       out.upper};
  const dim3 blocks(static_cast<unsigned>((groups_ + kThreads - 1) / kThreads),
                    static_cast<unsigned>((window.count + kSourceTile - 1) / kSourceTile));
  launch(upper_kernel, blocks, kThreads, 0, stream_, task);
}

}  // namespace gtn::cuda
