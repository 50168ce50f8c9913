// _core.instruction_sets(): the scan kernels of the CPU backend, best first.
#include "bindings/register.hpp"
#include "cpu/dispatch.hpp"

namespace py = pybind11;

namespace gtn {

void register_instruction_sets(py::module_& m) {
  m.def(
      "instruction_sets",
      [] {
        py::list rows;
        for (const KernelInfo& k : list_kernels()) {
          py::dict row;
          row["name"] = k.name;
          row["description"] = k.description;
          row["built"] = k.built;
          row["supported"] = k.supported;
          row["reason"] = k.reason;
          rows.append(row);
        }
        return rows;
      },
      "Scan kernels: name, description, built, supported, reason; best first.");
}

}  // namespace gtn
