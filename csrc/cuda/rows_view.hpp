// Rows and exact scores as kernels see them: the contract's arithmetic on the device. The order of
// operations is contract_dot.hpp's; here eight lanes hold one accumulator each.
#pragma once

#include <cstdint>

#include "core/contract_dot.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {

// gtn::Rows with pointers that the device can follow.
struct RowsView {
  const void* data;
  const double* mean;  // or null
  int64_t dim;
  bool f64;

  GTN_HD double at(int64_t row, int64_t k) const {
    const int64_t i = row * dim + k;
    const double v = f64 ? static_cast<const double*>(data)[i]
                         : static_cast<double>(static_cast<const float*>(data)[i]);
    return mean ? v - mean[k] : v;
  }
};

// One row, for dot().
struct RowView {
  const RowsView& rows;
  int64_t row;
  GTN_HD double operator[](int64_t k) const { return rows.at(row, k); }
};

// A matching on the device. Latents go by rank, sources by row.
struct Problem {
  RowsView latents;
  RowsView sources;
  const double* latent_norms;  // by row
  const double* source_norms;  // by row
  const int32_t* row_of_rank;  // latents
};

#ifdef GTN_DEVICE_CODE

constexpr int kDotLanes = 8;

// The contract's dot product by eight neighbouring lanes, of which this one is lane % 8. All lanes
// of the warp must call it. Every lane gets the result: additions commute, so all get the same
// bits.
__device__ inline double dot_by_lanes(const RowsView& a, int64_t row_a, const RowsView& b,
                                      int64_t row_b) {
  double s = 0.0;
  for (int64_t k = threadIdx.x % kDotLanes; k < a.dim; k += kDotLanes) {
    s += a.at(row_a, k) * b.at(row_b, k);
  }
  s += __shfl_xor_sync(kAllLanes, s, 4);
  s += __shfl_xor_sync(kAllLanes, s, 2);
  return s + __shfl_xor_sync(kAllLanes, s, 1);
}

#endif

}  // namespace gtn::cuda
