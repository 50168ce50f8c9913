// The list of scan kernels: which are built, which this machine runs, which to use.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.hpp"

namespace gtn {

struct KernelInfo {
  std::string name;
  std::string description;
  bool built;
  bool supported;
  std::string reason;  // why it cannot run here; empty if it can
};

// Every kernel of the project, best first, built here or not.
std::vector<KernelInfo> list_kernels();

// The kernel of that name, or for "auto" the best that runs here. Throws std::invalid_argument for
// an unknown name and std::runtime_error with the reason for one that cannot run here.
const Kernel& select_kernel(const std::string& name);

}  // namespace gtn
