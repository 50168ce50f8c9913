#include "sets_to_test.hpp"

#include <stdexcept>

namespace gtn {
extern const Kernel emulated_amx_int8;
extern const Kernel emulated_avx_vnni;
}  // namespace gtn

const std::vector<gtn::InstructionSet>& sets_to_test() {
  static const auto all = [] {
    std::vector<gtn::InstructionSet> sets;
    for (const auto& set : gtn::instruction_sets()) {
      if (set.supported()) sets.push_back(set);
    }
    const gtn::InstructionSet& best = gtn::select_instruction_set("auto");
    for (const auto& [name, kernel] : {std::pair{"emulated avx_vnni", &gtn::emulated_avx_vnni},
                                       std::pair{"emulated amx_int8", &gtn::emulated_amx_int8}}) {
      sets.push_back(best);  // its exact and tree kernels
      sets.back().name = name;
      sets.back().scan = *kernel;
      sets.back().scan.name = name;
      if (!kernel->int16.scan) {
        sets.back().scan.int16 = gtn::select_instruction_set("scalar").scan.int16;
      }
    }
    return sets;
  }();
  return all;
}

const gtn::InstructionSet& set_to_test(const std::string& name) {
  for (const gtn::InstructionSet& set : sets_to_test()) {
    if (set.name == name) return set;
  }
  throw std::invalid_argument("no instruction set " + name);
}
