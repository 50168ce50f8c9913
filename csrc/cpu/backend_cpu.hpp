// The CPU backend: which of its two shortlists searches. Where few dimensions describe the latents
// a tree of directions (shortlist_tree.hpp) looks at a fraction of them, elsewhere scanning all of
// them (shortlist_cpu.hpp) is faster. The choice follows from counted work, not from clocks, and
// changes nothing but the time.
#pragma once

#include "core/match.hpp"
#include "cpu/instruction_sets.hpp"

namespace gtn {

// A backend that computes with one instruction set within `memory` bytes of work space (0: no
// limit). Throws std::invalid_argument with the bytes needed if that is too little for m latents
// and n sources.
Backend cpu_backend(const InstructionSet& set, int64_t memory, int64_t m, int64_t n, int64_t dim);

}  // namespace gtn
