// Norms of rows with the contract's checks, and the contract's column mean. Refuses undefined
// input: NaN or infinity, rows without a direction, norms that leave the range of float64.
#pragma once

#include <vector>

#include "core/parallel.hpp"
#include "core/rows.hpp"

namespace gtn {

// norm(row) of every row. Throws std::invalid_argument that names the array, the rule, how many
// rows break it and the first five of them.
std::vector<double> checked_norms(const Rows& rows, Parallel& parallel);

// Squared norms of rows that may be 0. Throws like checked_norms for rows that are not finite, or
// whose squares are not.
std::vector<double> squared_norms(const Rows& rows, Parallel& parallel);

// The largest coordinate of any row, in absolute value.
double largest_coordinate(const Rows& rows, Parallel& parallel);

// Adds rows begin to end, in ascending order, to sum[dim].
void add_rows(const Rows& rows, int64_t begin, int64_t end, double* sum);

// Per column: sums of consecutive blocks of 1,024 rows in ascending order, the partial sums added
// in ascending order, divided by the number of rows. Throws like squared_norms.
std::vector<double> column_mean(const Rows& rows, Parallel& parallel);

}  // namespace gtn
