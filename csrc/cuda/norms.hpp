// Norms, the column mean and the orders by norm on the device (contract, rules 1, 2 and 8, and
// centring). Rows that are undefined are only noticed here: the host says what is wrong with them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/order.hpp"
#include "cuda/rows_view.hpp"
#include "cuda/sort.hpp"

namespace gtn::cuda {

constexpr int64_t kMeanBlock = 1024;  // rows of a partial sum (the contract's)

// norms[row] for all rows. Sets *undefined to 1 if a squared norm is out of range.
void write_norms(const RowsView& rows, int64_t count, double* norms, int32_t* undefined,
                 cudaStream_t stream);

// The contract's column mean of plain rows. partial: [ceil(count / kMeanBlock)][dim] of room. Sets
// *undefined to 1 if an entry is not finite.
void write_mean(const RowsView& rows, int64_t count, double* partial, double* mean,
                int32_t* undefined, cudaStream_t stream);

// Sorts `count` rows, ascending on entry, by norm into order[]. Null rows: all of them.
void write_order(const int32_t* rows, int64_t count, const double* norms, bool descending,
                 Sorter& sorter, int32_t* order, cudaStream_t stream);

}  // namespace gtn::cuda
