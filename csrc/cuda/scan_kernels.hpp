// The scan kernels of this build, the one to prefer first.
#pragma once

#include <array>

#include "cuda/scan.hpp"

namespace gtn::cuda {

// wgmma comes last until it has run on a device: `auto` takes the first that runs.
inline const std::array<const ScanKernel*, 3> kScanKernels{&scan_mma, &scan_dp4a, &scan_wgmma};

// Returns the kernel that the options ask for, on a device that is there. Throws
// std::invalid_argument.
struct Options;
const ScanKernel& scan_kernel(const Options& options);

}  // namespace gtn::cuda
