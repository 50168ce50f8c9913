// The instruction sets that tests run: all that this machine supports, and emulations of those that
// few machines have.
#pragma once

#include <string>
#include <vector>

#include "cpu/instruction_sets.hpp"

// Names are those of instruction_sets.hpp, with "emulated " before an emulation's.
const std::vector<gtn::InstructionSet>& sets_to_test();
const gtn::InstructionSet& set_to_test(const std::string& name);

// How often emulated instructions were used in a way that a processor answers with a fault.
int emulated_faults();
