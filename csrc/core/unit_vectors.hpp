// Rows as unit vectors in float64, for backends that approximate scores: within rounding_slack of
// the truth, and no part of the contract's arithmetic (contract.hpp).
#pragma once

#include <cstdint>
#include <vector>

#include "core/contract.hpp"
#include "core/parallel.hpp"

namespace gtn {

// Inner product of two float64 vectors, within rounding_slack of the truth.
double product(const double* a, const double* b, int64_t dim);

// Asks memory for a row. Loops over rows in an order of their own spend most of their time waiting
// unless they ask for kRowsAhead rows ahead.
constexpr int64_t kRowsAhead = 4;
void prefetch_row(const Rows& rows, int64_t row);

// Writes x/|x| of a row whose norm is known. unit: [dim]
void unit_row(const Rows& rows, int64_t row, double norm, double* unit);
// The same where the norm is known but would have to be fetched: computing it again is faster.
void unit_row(const Rows& rows, int64_t row, double* unit);

// About the mean of x/|x| of the rows row_at(0), ..., row_at(count - 1): the mean of a sample, the
// same in every run. To subtract it from all unit vectors adds the same to every score.
std::vector<double> mean_direction(const Rows& rows, int64_t count,
                                   FunctionRef<int64_t(int64_t)> row_at, Parallel& parallel);

}  // namespace gtn
