// _core.match_rows: rows in, arrays out. Checks types and shapes, releases the GIL and calls the
// engine.
#include "bindings/arguments.hpp"
#include "bindings/engine.hpp"
#include "bindings/gil.hpp"
#include "bindings/register.hpp"
#include "core/match.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

py::dict dict_of(const Ran& ran) {
  const Stats& s = ran.stats;
  py::dict seconds;
  seconds["norms"] = s.seconds.norms;
  seconds["order"] = s.seconds.order;
  seconds["encode"] = s.seconds.encode;
  seconds["search"] = s.seconds.search;
  seconds["decide"] = s.seconds.decide;
  seconds["walk"] = s.seconds.walk;
  seconds["remove"] = s.seconds.remove;
  seconds["total"] = s.seconds.total;
  py::dict d;
  d["instruction_set"] = s.instruction_set;
  d["arithmetic"] = s.arithmetic;
  d["threads"] = s.threads;
  d["windows"] = s.windows;
  if (s.distinct >= 0) d["distinct_latents"] = s.distinct;
  d["candidates"] = s.candidates;
  d["rescored"] = s.rescored;
  d["retries"] = s.retries;
  d["conflicts"] = s.conflicts;
  d["rescans"] = s.rescans;
  d["full_scans"] = s.full_scans;
  d["peak_work_bytes"] = s.work_bytes;
  d["seconds"] = seconds;
  for (const auto& [name, value] : ran.more) d[py::str(name)] = value;
  return d;
}

py::tuple match(const py::object& latents, const py::object& sources, const std::string& order,
                int64_t cone, bool center, const std::optional<Labels>& source_groups,
                const std::optional<Labels>& latent_groups, const std::string& instruction_set,
                const Engine& engine, int threads, int64_t memory,
                const py::array_t<int64_t>& visited, int64_t start, const py::object& poll) {
  const Arguments given{latents,       sources,       order,           cone,    center,
                        source_groups, latent_groups, instruction_set, threads, memory};
  Task task = given.task();
  task.in.start = start;
  const int64_t n = task.in.sources.count;
  if (visited.ndim() != 1 || visited.shape(0) != n || !visited.writeable() ||
      !(visited.flags() & py::array::c_style)) {
    throw py::value_error("visited must be a writable int64 array with one entry a source");
  }
  if (start < 0 || start > n) {
    throw py::value_error("start must lie between 0 and the number of sources");
  }

  py::array_t<int64_t> assignment(n);
  py::array_t<double> cosine(n);
  const MatchOutput out{assignment.mutable_data(), cosine.mutable_data(),
                        const_cast<int64_t*>(visited.data())};
  int64_t done = start;
  const PythonPoll on_poll(poll, done);
  const Ran ran = gil::without_gil([&] { return engine.match(task, out, done, on_poll); });
  on_poll.finish();
  return py::make_tuple(assignment, cosine, dict_of(ran));
}

}  // namespace

void register_match(py::module_& m) {
  m.def("match_rows", &match, py::arg("latents"), py::arg("sources"), py::kw_only(),
        py::arg("order"), py::arg("cone"), py::arg("center"), py::arg("source_groups").none(true),
        py::arg("latent_groups").none(true), py::arg("instruction_set"), py::arg("engine"),
        py::arg("threads"), py::arg("memory"), py::arg("visited").noconvert(), py::arg("start"),
        py::arg("poll").none(true),
        "Match every source to a latent of its own (see gtn_label.match).");
}

}  // namespace gtn
