// The kernels that tests run: all that this machine supports, and emulations of those that few
// machines have.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.hpp"

// Names are those of dispatch.hpp, with "emulated " before an emulation's.
const std::vector<gtn::Kernel>& kernels_to_test();
const gtn::Kernel& kernel_to_test(const std::string& name);

// How often emulated instructions were used in a way that a processor answers with a fault.
int emulated_faults();
