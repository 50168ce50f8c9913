// Measures how fast a scan kernel multiplies when nothing else happens: the floor for the engine's
// times in benchmarks. Not part of any matching.
#pragma once

#include <cstdint>

#include "cpu/kernels.hpp"

namespace gtn {

// Multiply-adds a second of the int8 kernel in one thread: a bare loop over panels that stay in
// the first-level cache, with thresholds that no sum reaches. Only the `dim` dimensions that were
// asked for count, not what pads them to steps. Takes about `seconds`; dim >= 1.
double int8_rate(const Kernel& kernel, int64_t dim, double seconds);

}  // namespace gtn
