// The table of instruction sets: name, description, kernels, and what this machine runs.
#pragma once

#include <span>
#include <string>

#include "core/exact_kernels.hpp"
#include "cpu/kernels.hpp"
#include "cpu/tree_kernels.hpp"

namespace gtn {

struct InstructionSet {
  const char* name = "";
  const char* description = "";
  bool built = false;
  std::string reason;                           // why it cannot run here; empty if it can
  Kernel scan{};                                // set if it is built
  const ExactKernels* exact = &exact_portable;  // no wider registers than the scan's
  const TreeKernel* tree = &tree_kernel_portable;

  bool supported() const { return reason.empty(); }
};

// Every instruction set of the project, best first, built here or not.
std::span<const InstructionSet> instruction_sets();

// The instruction set of that name, or for "auto" the best that runs here. Throws
// std::invalid_argument for an unknown name and std::runtime_error with the reason for one that
// cannot run here.
const InstructionSet& select_instruction_set(const std::string& name);

}  // namespace gtn
