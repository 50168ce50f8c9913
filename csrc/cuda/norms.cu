#include <cfloat>

#include "cuda/norms.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;

dim3 blocks_for(int64_t threads) {
  return dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
}

__global__ void norms_kernel(RowsView rows, int64_t count, double* norms, int32_t* undefined) {
  const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kDotLanes;
  const int64_t safe = row < count ? row : count - 1;
  const double squared = dot_by_lanes(rows, safe, rows, safe);
  if (row >= count || threadIdx.x % kDotLanes != 0) return;
  if (!(squared >= DBL_MIN && squared <= DBL_MAX)) atomicExch(undefined, 1);
  norms[row] = sqrt(squared);
}

__global__ void partial_mean_kernel(RowsView rows, int64_t count, double* partial) {
  const int64_t begin = int64_t{blockIdx.x} * kMeanBlock;
  const int64_t end = begin + kMeanBlock < count ? begin + kMeanBlock : count;
  for (int64_t k = threadIdx.x; k < rows.dim; k += blockDim.x) {
    double sum = 0.0;
    for (int64_t row = begin; row < end; ++row) sum += rows.at(row, k);
    partial[blockIdx.x * rows.dim + k] = sum;
  }
}

__global__ void mean_kernel(const double* partial, int64_t blocks, int64_t dim, int64_t count,
                            double* mean, int32_t* undefined) {
  const int64_t k = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= dim) return;
  double sum = 0.0;
  for (int64_t b = 0; b < blocks; ++b) sum += partial[b * dim + k];
  sum /= static_cast<double>(count);
  if (!(fabs(sum) <= DBL_MAX)) atomicExch(undefined, 1);
  mean[k] = sum;
}

// Positive doubles order like their bit patterns; complementing them reverses the order of norms
// while ties still go to the lower row.
__global__ void order_keys_kernel(const int32_t* rows, int64_t count, const double* norms,
                                  uint64_t flip, uint64_t* keys, int32_t* values) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int32_t row = rows ? rows[i] : static_cast<int32_t>(i);
  keys[i] = static_cast<uint64_t>(__double_as_longlong(norms[row])) ^ flip;
  values[i] = row;
}

}  // namespace

void write_norms(const RowsView& rows, int64_t count, double* norms, int32_t* undefined,
                 cudaStream_t stream) {
  launch(norms_kernel, blocks_for(count * kDotLanes), kThreads, 0, stream, rows, count, norms,
         undefined);
}

void write_mean(const RowsView& rows, int64_t count, double* partial, double* mean,
                int32_t* undefined, cudaStream_t stream) {
  const int64_t blocks = (count + kMeanBlock - 1) / kMeanBlock;
  launch(partial_mean_kernel, dim3(static_cast<unsigned>(blocks)), 128, 0, stream, rows, count,
         partial);
  launch(mean_kernel, blocks_for(rows.dim), kThreads, 0, stream,
         static_cast<const double*>(partial), blocks, rows.dim, count, mean, undefined);
}

void write_order(const int32_t* rows, int64_t count, const double* norms, bool descending,
                 Sorter& sorter, int32_t* order, cudaStream_t stream) {
  launch(order_keys_kernel, blocks_for(count), kThreads, 0, stream, rows, count, norms,
         descending ? ~uint64_t{0} : uint64_t{0}, sorter.keys(), sorter.values());
  sorter.sort(count, 64, stream);
  check(cudaMemcpyAsync(order, sorter.values(), static_cast<size_t>(count) * sizeof(int32_t),
                        cudaMemcpyDeviceToDevice, stream),
        "keeping an order");
}

}  // namespace gtn::cuda
