// _core.OptimalState: where an interrupted optimal_rows goes on, and where this one stands. Python
// asks for it in a poll, and after the run.
#pragma once

#include <optional>

#include "core/auction_state.hpp"

namespace gtn {

struct PyOptimalState {
  std::optional<OptimalState> resumed;
  Snapshots snapshots;
};

}  // namespace gtn
