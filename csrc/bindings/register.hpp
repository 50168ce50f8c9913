// The functions that module.cpp calls, one for each topic that it registers.
#pragma once

#include <pybind11/pybind11.h>

namespace gtn {
void register_guarded_range(pybind11::module_& m);
void register_instruction_sets(pybind11::module_& m);
void register_audit(pybind11::module_& m);
void register_cuda(pybind11::module_& m);
void register_cuda_rate(pybind11::module_& m);
void register_emulated_memory(pybind11::module_& m);  // in a build for tests alone
void register_engines(pybind11::module_& m);
void register_match(pybind11::module_& m);
void register_optimal(pybind11::module_& m);
void register_optimal_state(pybind11::module_& m);
void register_sharded(pybind11::module_& m);
}  // namespace gtn
