// Which exact kernels (core/exact_kernels.hpp) go with which instruction set of the scan kernels.
#pragma once

#include <string>
#include <vector>

#include "core/exact_kernels.hpp"

namespace gtn {

// Those that are built and run here, best first; the portable ones are last.
std::vector<const ExactKernels*> list_exact_kernels();

// The best that use no wider registers than the named scan kernel (a name, not "auto").
const ExactKernels& select_exact_kernels(const std::string& instruction_set);

}  // namespace gtn
