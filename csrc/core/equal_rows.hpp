// Equal rows of many machines (distinct.hpp has those of one).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/collective.hpp"
#include "core/parallel.hpp"
#include "core/rows.hpp"

namespace gtn {

// For each row of all machines the lowest row with the same bytes; empty if all rows differ.
// here: which rows of all those in `rows` are. squares: equal for equal rows, by row of all.
std::vector<int32_t> equal_rows(const Rows& rows, std::span<const int64_t> here,
                                const std::vector<double>& squares, Collective& ranks,
                                Parallel& parallel);

}  // namespace gtn
