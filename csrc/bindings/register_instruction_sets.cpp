// _core.instruction_sets(): the scan kernels of the CPU backend, best first; _core.int8_rate(): how
// fast one of them is by itself, for benchmarks.
#include "bindings/gil.hpp"
#include "bindings/register.hpp"
#include "cpu/instruction_sets.hpp"
#include "cpu/kernel_rate.hpp"

namespace py = pybind11;

namespace gtn {

void register_instruction_sets(py::module_& m) {
  m.def(
      "instruction_sets",
      [] {
        py::list rows;
        for (const InstructionSet& set : instruction_sets()) {
          py::dict row;
          row["name"] = set.name;
          row["description"] = set.description;
          row["built"] = set.built;
          row["supported"] = set.supported();
          row["reason"] = set.reason;
          rows.append(row);
        }
        return rows;
      },
      "Scan kernels: name, description, built, supported, reason; best first.");
  m.def(
      "int8_rate",
      [](const std::string& instruction_set, int64_t dim, double seconds) {
        if (dim < 1) throw py::value_error("dim must be >= 1, got " + std::to_string(dim));
        const Kernel& kernel = select_instruction_set(instruction_set).scan;
        return gil::without_gil([&] { return int8_rate(kernel, dim, seconds); });
      },
      py::arg("instruction_set"), py::arg("dim"), py::arg("seconds"),
      "int8 multiply-adds a second of one thread, over panels that stay in the cache.");
}

}  // namespace gtn
