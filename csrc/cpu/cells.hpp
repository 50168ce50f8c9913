// Cells: the free latents grouped by direction, when grouping helps. A cell's latents are coded
// relative to its own centre, so tight clusters keep their resolution, and a cell whose bound stays
// below a source's threshold is not scanned. Where latents have no such structure there is one
// cell. Any grouping gives the same matching; this file only has to be good, not exact.
#pragma once

#include <cstdint>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/kmeans_pp.hpp"
#include "core/parallel.hpp"

namespace gtn {

constexpr int64_t kMostCells = kMostSeeds + 1;  // one is for strays

// Splits ids (in a spread-out order, so that any stretch is a fair sample) into non-empty cells.
// Members keep their order.
std::vector<std::vector<int32_t>> choose_cells(const Scorer& scorer,
                                               const DistinctLatents& distinct,
                                               std::vector<LatentId> ids, Parallel& parallel);

}  // namespace gtn
