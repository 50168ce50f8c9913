// Lays the codes out, encodes rows and calls the scan.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

#include "core/contract.hpp"
#include "cuda/codes.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kCentreParts = 16;          // blocks that share the mean of a cell
constexpr int32_t kCentreSample = 1024;   // latents of a cell whose mean is its centre
constexpr float kTiniestStep = 0x1p-60f;  // vectors this small are one point
constexpr double kLargestCode = 127.0;

__device__ double sum_of_warp(double v) {
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}
__device__ double max_of_warp(double v) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, v, step);
    v = other > v ? other : v;
  }
  return v;
}

// A step for coordinates of at most this size, rounded up to 12 significant bits.
__device__ float step_for(double largest) {
  float step = __double2float_ru(largest / kLargestCode);
  if (!(step > kTiniestStep)) return kTiniestStep;
  return __int_as_float((__float_as_int(step) + 0xfff) & ~0xfff);
}

// Latents of a cell: positions [begins[cell], begins[cell + 1]) in the order of layout; and its
// groups, which start at group_begins[cell].
struct CellRanges {
  const int32_t* begins;
  const int32_t* group_begins;
  int32_t count;

  __device__ int32_t cell_of_position(int32_t position) const { return last_at(begins, position); }
  __device__ int32_t cell_of_group(int32_t group) const { return last_at(group_begins, group); }

 private:
  // The last cell that begins at `at` or before.
  __device__ int32_t last_at(const int32_t* ascending, int32_t at) const {
    int32_t low = 0, behind = count;
    while (behind - low > 1) {
      const int32_t middle = (low + behind) / 2;
      (ascending[middle] <= at ? low : behind) = middle;
    }
    return low;
  }
};

// Few blocks, each of which counts its latents before it adds to the sizes.
constexpr int64_t kCountingBlocks = 512;
__global__ void cell_keys_kernel(const uint8_t* cell_of_rank, const int32_t* ranks, int32_t count,
                                 uint64_t* keys, int32_t* sizes) {
  __shared__ int32_t here[kMostCells];
  for (int32_t c = static_cast<int32_t>(threadIdx.x); c < kMostCells; c += kThreads) here[c] = 0;
  __syncthreads();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads) {
    const int32_t cell = cell_of_rank[ranks[i]];
    keys[i] = static_cast<uint64_t>(cell);
    atomicAdd(&here[cell], 1);
  }
  __syncthreads();
  for (int32_t c = static_cast<int32_t>(threadIdx.x); c < kMostCells; c += kThreads) {
    if (here[c] > 0) atomicAdd(&sizes[c], here[c]);
  }
}

// partial[cell][part][k]: a share of the sum of unit vectors of a sample of the cell.
__global__ void centre_parts_kernel(Problem p, const int32_t* ranks, CellRanges cells,
                                    double* partial) {
  const int32_t cell = static_cast<int32_t>(blockIdx.x) / kCentreParts;
  const int32_t part = static_cast<int32_t>(blockIdx.x) % kCentreParts;
  const int32_t begin = cells.begins[cell], size = cells.begins[cell + 1] - begin;
  const int32_t sample = min(size, kCentreSample);
  for (int64_t k = threadIdx.x; k < p.latents.dim; k += blockDim.x) {
    double sum = 0.0;
    for (int32_t i = part; i < sample; i += kCentreParts) {
      const int32_t row = p.row_of_rank[ranks[begin + int64_t{i} * size / sample]];
      sum += p.latents.at(row, k) * (1.0 / p.latent_norms[row]);
    }
    partial[blockIdx.x * p.latents.dim + k] = sum;
  }
}

__global__ void centres_kernel(const double* partial, CellRanges cells, int64_t dim,
                               double* centres) {
  const int32_t cell = static_cast<int32_t>(blockIdx.x);
  const int32_t size = cells.begins[cell + 1] - cells.begins[cell];
  const double sample = size < kCentreSample ? size : kCentreSample;
  for (int64_t k = threadIdx.x; k < dim; k += blockDim.x) {
    double sum = 0.0;
    for (int part = 0; part < kCentreParts; ++part) {
      sum += partial[(int64_t{cell} * kCentreParts + part) * dim + k];
    }
    centres[cell * dim + k] = size > 0 ? sum / sample : 0.0;
  }
}

// The 16 leading bits of a positive float, rounded up: enough to sort by, and half the passes.
__device__ uint32_t leading_bits(float v) {
  return (static_cast<uint32_t>(__float_as_int(v)) + 0xffff) >> 16;
}
__device__ float float_of_leading_bits(uint64_t key) {
  return __int_as_float(static_cast<int32_t>((key & 0xffff) << 16));
}
constexpr int kExtentBits = 16;
constexpr int kCellBits = 8;

// Keys that sort by cell, then by the largest coordinate of v = x/|x| - centre. A warp a latent.
__global__ void extent_keys_kernel(Problem p, const int32_t* ranks, int32_t count, CellRanges cells,
                                   const double* centres, uint64_t* keys) {
  const auto i = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (i >= count) return;
  const int32_t row = p.row_of_rank[ranks[i]];
  const double inverse = 1.0 / p.latent_norms[row];
  const int32_t cell = cells.cell_of_position(i);
  const double* centre = centres + cell * p.latents.dim;
  double largest = 0.0;
  for (int64_t k = threadIdx.x % kWarp; k < p.latents.dim; k += kWarp) {
    const double v = fabs(p.latents.at(row, k) * inverse - centre[k]);
    largest = v > largest ? v : largest;
  }
  largest = max_of_warp(largest);
  if (threadIdx.x % kWarp == 0) {
    keys[i] = static_cast<uint64_t>(cell) << kExtentBits | leading_bits(__double2float_ru(largest));
  }
}

// Codes of a row that are all zero, by a warp.
__device__ void write_zeros(const CodeRow<int8_t>& out, int32_t stride) {
  for (int32_t k = static_cast<int32_t>(threadIdx.x % kWarp) * 4; k < stride; k += kWarp * 4)
    *reinterpret_cast<uint32_t*>(out.at(k)) = 0;
}

// Quantises one vector v(k), by a warp. Returns |v - step code| and sums the squares of codes.
template <class V>
__device__ double quantise(V v, int64_t dim, int32_t stride, float step, const CodeRow<int8_t>& out,
                           double& squared_codes, double& squared_norm) {
  const double inverse = 1.0 / static_cast<double>(step);
  double left = 0.0;
  squared_codes = squared_norm = 0.0;
  for (int32_t k = static_cast<int32_t>(threadIdx.x % kWarp) * 4; k < stride; k += kWarp * 4) {
    uint32_t packed = 0;
    for (int b = 0; b < 4; ++b) {
      if (k + b >= dim) break;
      const double value = v(k + b);
      const int code = __double2int_rn(value * inverse);
      const double rest = value - static_cast<double>(step) * code;
      left += rest * rest;
      squared_norm += value * value;
      squared_codes += static_cast<double>(code * code);
      packed |= static_cast<uint32_t>(code & 0xff) << (8 * b);
    }
    *reinterpret_cast<uint32_t*>(out.at(k)) = packed;
  }
  left = sum_of_warp(left);
  squared_codes = sum_of_warp(squared_codes);
  squared_norm = sum_of_warp(squared_norm);
  return sqrt(left);
}

struct EncodeTask {
  Problem problem;
  const int32_t* order;  // ranks in the order of layout
  const uint64_t* keys;
  CellRanges cells;
  const double* centres;
  Slots slots;
  CodeOrder code_order;
  int32_t stride;
  double slack;
  int8_t* codes;
  GroupCode* groups;
  int32_t* ranks;
  int32_t* low_rank;
  int32_t* slot_of_rank;
};

// A block a group: its step from its members' extent, their codes, the bounds they share.
__global__ void encode_kernel(EncodeTask t) {
  __shared__ double residuals[kWarps], radii[kWarps];
  __shared__ int32_t lowest;
  const auto group = static_cast<int32_t>(blockIdx.x);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int32_t cell = t.cells.cell_of_group(group);
  const int32_t room = t.slots.group_members();
  const int32_t begin = t.cells.begins[cell] + (group - t.cells.group_begins[cell]) * room;
  const int32_t left = t.cells.begins[cell + 1] - begin;
  const int32_t members = left < 0 ? 0 : left < room ? left : room;
  if (threadIdx.x == 0) lowest = INT32_MAX;
  __syncthreads();
  // Keys ascend inside a cell.
  const float largest = members > 0 ? float_of_leading_bits(t.keys[begin + members - 1]) : 0.0f;
  const float step = step_for(static_cast<double>(largest));
  const double* centre = t.centres + cell * t.problem.latents.dim;
  double residual = 0.0, radius = 0.0;
  for (int32_t m = warp; m < room; m += kWarps) {
    const int64_t slot = t.slots.slot_of(group, m);
    const CodeRow<int8_t> out(t.codes, t.code_order, t.stride, slot);
    if (m >= members) {
      write_zeros(out, t.stride);
      if (lane == 0) t.ranks[int64_t{group} * room + m] = -1;
      continue;
    }
    const int32_t rank = t.order[begin + m];
    const int32_t row = t.problem.row_of_rank[rank];
    const double inverse = 1.0 / t.problem.latent_norms[row];
    double squared_codes, squared_norm;
    const double rest =
        quantise([&](int64_t k) { return t.problem.latents.at(row, k) * inverse - centre[k]; },
                 t.problem.latents.dim, t.stride, step, out, squared_codes, squared_norm);
    residual = rest > residual ? rest : residual;
    const double norm = sqrt(squared_norm);
    radius = norm > radius ? norm : radius;
    if (lane == 0) {
      t.ranks[int64_t{group} * room + m] = rank;
      t.slot_of_rank[rank] = static_cast<int32_t>(slot);
      atomicMin(&lowest, rank);
    }
  }
  if (lane == 0) {
    residuals[warp] = residual;
    radii[warp] = radius;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; ++w) {
    residual = residuals[w] > residual ? residuals[w] : residual;
    radius = radii[w] > radius ? radii[w] : radius;
  }
  // An empty group bounds nothing: its cosines are below every other.
  const float none = -INFINITY;
  t.groups[group] = {step,
                     members > 0 ? __double2float_ru(residual * (1.0 + t.slack) + t.slack) : none,
                     __double2float_ru(radius * (1.0 + t.slack) + t.slack), cell};
  t.low_rank[group] = lowest;
}

struct EncodeSourcesTask {
  Problem problem;
  const int32_t* rows;
  int32_t count;
  int32_t source_rows;
  CodeOrder code_order;
  int32_t stride;
  double slack;
  const double* centres;
  int32_t cells;
  int8_t* codes;
  SourceCode* sources;
  float* base;
};

// A warp a source; rows past the last become zero.
__global__ void encode_sources_kernel(EncodeSourcesTask t) {
  const auto i = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  const int lane = threadIdx.x % kWarp;
  if (i >= t.source_rows) return;
  const CodeRow<int8_t> out(t.codes, t.code_order, t.stride, i);
  if (i >= t.count) {
    write_zeros(out, t.stride);
    for (int32_t c = lane; c < t.cells; c += kWarp) t.base[int64_t{c} * t.source_rows + i] = 0.0f;
    if (lane == 0) t.sources[i] = {0.0f, 0.0f, 0.0f};
    return;
  }
  const int32_t row = t.rows[i];
  const RowsView& y = t.problem.sources;
  const double inverse = 1.0 / t.problem.source_norms[row];
  double largest = 0.0;
  for (int64_t k = lane; k < y.dim; k += kWarp) {
    const double v = fabs(y.at(row, k) * inverse);
    largest = v > largest ? v : largest;
  }
  const float step = step_for(max_of_warp(largest));
  double squared_codes, squared_norm;
  const double rest = quantise([&](int64_t k) { return y.at(row, k) * inverse; }, y.dim, t.stride,
                               step, out, squared_codes, squared_norm);
  if (lane == 0) {
    t.sources[i] = {
        step, __double2float_ru(static_cast<double>(step) * sqrt(squared_codes) * (1.0 + t.slack)),
        __double2float_ru(rest * (1.0 + t.slack) + t.slack)};
  }
  for (int32_t c = 0; c < t.cells; ++c) {
    double sum = 0.0;
    for (int64_t k = lane; k < y.dim; k += kWarp) {
      sum += y.at(row, k) * inverse * t.centres[c * y.dim + k];
    }
    sum = sum_of_warp(sum);
    if (lane == 0) t.base[int64_t{c} * t.source_rows + i] = __double2float_ru(sum + t.slack);
  }
}

// Codes of what is taken become zero, so that it raises no bound any more. A warp a latent.
__global__ void zero_codes_kernel(const int32_t* taken, int32_t count, const int32_t* slot_of_rank,
                                  CodeOrder order, int32_t stride, int8_t* codes) {
  const auto i = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (i >= count || taken[i] < 0) return;
  write_zeros(CodeRow<int8_t>(codes, order, stride, slot_of_rank[taken[i]]), stride);
}

dim3 warps(int64_t count) {
  return dim3(static_cast<unsigned>((count + kWarps - 1) / kWarps));
}

// Bound on what roundings in float64 add to a cosine, with room to spare.
double slack_for(int64_t dim) {
  return 8.0 * rounding_slack(dim);
}

int32_t padded(int32_t count) {
  return (count + kSourceRows - 1) / kSourceRows * kSourceRows;
}

}  // namespace

int64_t CodeBounds::stride_for(int64_t dim) {
  return (dim + kStrideBytes - 1) / kStrideBytes * kStrideBytes;
}

Slots CodeBounds::slots_for(int64_t dim) {
  // A group whose bound admits it is read whole: 4 to 8 KB of codes.
  return {static_cast<int32_t>(std::clamp<int64_t>(512 / stride_for(dim), 2, 8))};
}

int64_t CodeBounds::most_groups(int64_t latents, int64_t dim) {
  const int64_t groups = latents / slots_for(dim).group_members() + most_cells(latents);
  return (groups + kTileGroups - 1) / kTileGroups * kTileGroups;
}

CodeBounds::CodeBounds(Budget& budget, const Problem& problem, int32_t latents, int32_t window,
                       const ScanKernel& kernel, int multiprocessors, bool mapped,
                       Parallel& parallel, cudaStream_t stream)
    : problem_(problem),
      kernel_(kernel),
      multiprocessors_(multiprocessors),
      parallel_(parallel),
      stream_(stream),
      slots_(slots_for(problem.latents.dim)),
      stride_(static_cast<int32_t>(stride_for(problem.latents.dim))),
      source_rows_(padded(window)),
      cells_(budget, latents) {
  const int64_t dim = problem.latents.dim;
  const int64_t groups = most_groups(latents, dim);
  const int64_t room = slots_.group_members();
  const int64_t cells = most_cells(latents);
  if (mapped) {
    mapped_codes_ = PinnedArray<int8_t>(groups * room * stride_, "codes of latents", stream_);
    codes_ = mapped_codes_.on_device();
  } else {
    latent_codes_ = DeviceArray<int8_t>(budget, groups * room * stride_, "codes of latents");
    codes_ = latent_codes_.data();
  }
  group_codes_ = DeviceArray<GroupCode>(budget, groups, "groups");
  ranks_ = DeviceArray<int32_t>(budget, groups * room, "groups");
  low_rank_ = DeviceArray<int32_t>(budget, groups, "groups");
  slot_of_rank_ = DeviceArray<int32_t>(budget, latents, "slots of latents");
  source_codes_ = DeviceArray<int8_t>(budget, int64_t{source_rows_} * stride_, "codes of sources");
  sources_ = DeviceArray<SourceCode>(budget, source_rows_, "codes of sources");
  base_ = DeviceArray<float>(budget, cells * source_rows_, "codes of sources");
  centres_ = DeviceArray<double>(budget, cells * dim, "centres of cells");
  partial_ = DeviceArray<double>(budget, cells * kCentreParts * dim, "centres of cells");
  begins_ = DeviceArray<int32_t>(budget, 2 * (kMostCells + 1), "cells");
  cells_.find(budget, problem, parallel, stream);
}

// Sorts by cell, and says where each begins.
void CodeBounds::place_cells(int32_t count, Sorter& sorter) {
  const int32_t cells = cells_.count();
  std::vector<int32_t> begins(2 * (kMostCells + 1), 0);
  if (cells == 1) {
    begins[1] = count;
  } else {
    const size_t bytes = static_cast<size_t>(cells) * sizeof(int32_t);
    check(cudaMemsetAsync(begins_.data(), 0, bytes, stream_), "counting cells");
    const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, kCountingBlocks);
    launch(cell_keys_kernel, dim3(static_cast<unsigned>(blocks)), kThreads, 0, stream_,
           cells_.of_rank(), sorter.values(), count, sorter.keys(), begins_.data());
    check(
        cudaMemcpyAsync(begins.data() + 1, begins_.data(), bytes, cudaMemcpyDeviceToHost, stream_),
        "counting cells");
    sorter.sort(count, kCellBits, stream_);
    check(cudaStreamSynchronize(stream_), "counting cells");
    for (int32_t c = 0; c < cells; ++c) begins[c + 1] += begins[c];
  }
  const int32_t room = slots_.group_members();
  int32_t* group_begins = begins.data() + kMostCells + 1;
  for (int32_t c = 0; c < cells; ++c) {
    group_begins[c + 1] = group_begins[c] + (begins[c + 1] - begins[c] + room - 1) / room;
  }
  superpanels_ = std::max(1, (group_begins[cells] + kTileGroups - 1) / kTileGroups);
  check(cudaMemcpyAsync(begins_.data(), begins.data(), begins.size() * sizeof(int32_t),
                        cudaMemcpyHostToDevice, stream_),
        "placing cells");
  check(cudaStreamSynchronize(stream_), "placing cells");  // the vector goes
}

void CodeBounds::lay_out(int32_t count, Sorter& sorter) {
  place_cells(count, sorter);
  const int64_t dim = problem_.latents.dim;
  const auto cells = static_cast<unsigned>(cells_.count());
  const CellRanges ranges{begins_.data(), begins_.data() + kMostCells + 1, cells_.count()};
  launch(centre_parts_kernel, dim3(cells * kCentreParts), 128, 0, stream_, problem_,
         sorter.values(), ranges, partial_.data());
  launch(centres_kernel, dim3(cells), 128, 0, stream_, partial_.data(), ranges, dim,
         centres_.data());
  launch(extent_keys_kernel, warps(count), kThreads, 0, stream_, problem_, sorter.values(), count,
         ranges, centres_.data(), sorter.keys());
  sorter.sort(count, kCellBits + kExtentBits, stream_);
  const EncodeTask task{problem_,
                        sorter.values(),
                        sorter.keys(),
                        ranges,
                        centres_.data(),
                        slots_,
                        kernel_.order,
                        stride_,
                        slack_for(dim),
                        codes_,
                        group_codes_.data(),
                        ranks_.data(),
                        low_rank_.data(),
                        slot_of_rank_.data()};
  launch(encode_kernel, dim3(static_cast<unsigned>(superpanels_ * kTileGroups)), kThreads, 0,
         stream_, task);
}

Groups CodeBounds::groups() const {
  return {superpanels_ * kTileGroups, slots_.group_members(), ranks_.data(), low_rank_.data()};
}

CodeView CodeBounds::codes() const {
  return {codes_,
          group_codes_.data(),
          source_codes_.data(),
          sources_.data(),
          base_.data(),
          padded(window_),
          stride_,
          slots_,
          kernel_.order};
}

void CodeBounds::write_upper(const Window& window, const Uppers& out) {
  window_ = window.count;
  const int32_t rows = padded(window.count);
  const EncodeSourcesTask encode{problem_,
                                 window.rows,
                                 window.count,
                                 rows,
                                 kernel_.order,
                                 stride_,
                                 slack_for(problem_.sources.dim),
                                 centres_.data(),
                                 cells_.count(),
                                 source_codes_.data(),
                                 sources_.data(),
                                 base_.data()};
  launch(encode_sources_kernel, warps(rows), kThreads, 0, stream_, encode);
  const ScanTask scan{source_codes_.data(),
                      sources_.data(),
                      base_.data(),
                      codes_,
                      group_codes_.data(),
                      out.upper,
                      named() ? out.others : nullptr,
                      window.count,
                      rows,
                      stride_,
                      superpanels_,
                      slots_};
  kernel_.scan(scan, multiprocessors_, stream_);
  products_ +=
      static_cast<double>(window.count) * superpanels_ * slots_.superpanel_slots() * stride_;
}

void CodeBounds::remove(const int32_t* ranks, int32_t count) {
  launch(zero_codes_kernel, warps(count), kThreads, 0, stream_, ranks, count, slot_of_rank_.data(),
         kernel_.order, stride_, codes_);
}

}  // namespace gtn::cuda
