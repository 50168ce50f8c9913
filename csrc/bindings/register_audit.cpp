// _core.audit_rows: what some sources of a finished run would have taken exactly, on the CPU.
#include "bindings/arguments.hpp"
#include "bindings/gil.hpp"
#include "bindings/register.hpp"
#include "core/audit.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/instruction_sets.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

py::tuple audit(const py::object& latents, const py::object& sources, const std::string& order,
                int64_t cone, bool center, const std::optional<Labels>& source_groups,
                const std::optional<Labels>& latent_groups, const std::string& instruction_set,
                int threads, int64_t memory, const Labels& visited, const Labels& positions,
                const py::object& poll) {
  const Arguments given{latents,       sources,       order,           cone,    center,
                        source_groups, latent_groups, instruction_set, threads, memory};
  const Task task = given.task();
  task.require_host();
  const MatchInput& in = task.in;
  if (visited.ndim() != 1 || visited.shape(0) != in.sources.count || positions.ndim() != 1) {
    throw py::value_error("visited must have one entry a source, and positions be 1-D");
  }
  const int64_t count = positions.shape(0);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t least = i == 0 ? 0 : positions.at(i - 1) + 1;
    if (positions.at(i) < least || positions.at(i) >= in.sources.count) {
      throw py::value_error("positions must ascend and name sources");
    }
  }
  py::array_t<int64_t> source(count), latent(count);
  py::array_t<double> cosine(count);
  const AuditOutput out{source.mutable_data(), latent.mutable_data(), cosine.mutable_data()};
  const Backend backend = cpu_backend(select_instruction_set(instruction_set), memory,
                                      in.latents.count, in.sources.count, in.latents.dim);
  int64_t done = 0;
  const PythonPoll on_poll(poll, done);
  gil::without_gil([&] {
    audit_rows(in, backend, {visited.data(), static_cast<size_t>(in.sources.count)},
               {positions.data(), static_cast<size_t>(count)}, out, done, on_poll);
  });
  on_poll.finish();
  return py::make_tuple(source, latent, cosine);
}

}  // namespace

void register_audit(py::module_& m) {
  m.def(
      "audit_rows", &audit, py::arg("latents"), py::arg("sources"), py::kw_only(), py::arg("order"),
      py::arg("cone"), py::arg("center"), py::arg("source_groups").none(true),
      py::arg("latent_groups").none(true), py::arg("instruction_set"), py::arg("threads"),
      py::arg("memory"), py::arg("visited").noconvert(), py::arg("positions").noconvert(),
      py::arg("poll").none(true),
      "For the sources at some positions of a run, the exact choice among the latents free then.");
}

}  // namespace gtn
