// The scan kernels' names, for builds with CUDA and without.
#pragma once

#include <array>

namespace gtn::cuda {

struct KernelName {
  const char* name;
  const char* description;
};
inline constexpr KernelName kMma{"mma", "int8 tensor cores (mma.sync)"};
inline constexpr KernelName kDp4a{"dp4a", "integer instructions of any GPU"};
inline constexpr KernelName kWgmma{"wgmma", "int8 tensor cores of 9.0 (wgmma)"};
// In the order of scan_kernels.hpp.
inline constexpr std::array<KernelName, 3> kKernelNames{kMma, kDp4a, kWgmma};

}  // namespace gtn::cuda
