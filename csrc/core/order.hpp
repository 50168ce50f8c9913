// Sorting by norm: the orders in which sources are visited and latents ranked (contract, rule 2).
#pragma once

#include <cstdint>
#include <vector>

#include "core/parallel.hpp"

namespace gtn {

enum class Order { norm, norm_desc, index };

// The members of `rows` in the contract's order of their norms, ties by ascending row.
// rows: ascending row numbers; norms: indexed by row.
std::vector<int32_t> sorted_by_norm(const std::vector<int32_t>& rows,
                                    const std::vector<double>& norms, bool descending,
                                    Parallel& parallel);

}  // namespace gtn
