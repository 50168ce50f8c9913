// _core.match_rows: arrays in, arrays out. Checks types and shapes, releases the GIL, calls the
// engine, and takes the GIL back for signals and the caller's poll.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "bindings/register.hpp"
#include "core/match.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/exact_dispatch.hpp"
#include "faiss/backend_faiss.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);

Rows rows_of(const py::array& a, const char* name) {
  Rows rows;
  rows.name = name;
  if (py::isinstance<py::array_t<float>>(a)) {
    rows.dtype = DType::f32;
  } else if (py::isinstance<py::array_t<double>>(a)) {
    rows.dtype = DType::f64;
  } else {
    throw py::type_error(std::string(name) + " must be float32 or float64 of native byte order");
  }
  const size_t item = rows.dtype == DType::f32 ? 4 : 8;
  if (a.ndim() != 2 || !(a.flags() & py::array::c_style) ||
      reinterpret_cast<uintptr_t>(a.data()) % item != 0) {
    throw py::type_error(std::string(name) + " must be 2-D, C-contiguous and aligned");
  }
  rows.data = a.data();
  rows.count = a.shape(0);
  rows.dim = a.shape(1);
  if (rows.count >= INT32_MAX - 64) {
    throw py::value_error(std::string(name) + " must have fewer than 2^31 - 64 rows, got " +
                          std::to_string(rows.count));
  }
  return rows;
}

using Labels = py::array_t<int64_t, py::array::c_style>;

const int64_t* labels_of(const std::optional<Labels>& labels, int64_t n, const char* name) {
  if (!labels) return nullptr;
  if (labels->ndim() != 1 || labels->shape(0) != n) {
    throw py::value_error(std::string(name) + " must be 1-D with one label a row");
  }
  return labels->data();
}

Order order_of(const std::string& name) {
  if (name == "norm") return Order::norm;
  if (name == "norm_desc") return Order::norm_desc;
  if (name == "index") return Order::index;
  throw py::value_error("order must be norm, norm_desc or index, got '" + name + "'");
}

py::dict dict_of(const Stats& s) {
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
  d["distinct_latents"] = s.distinct;
  d["candidates"] = s.candidates;
  d["rescored"] = s.rescored;
  d["retries"] = s.retries;
  d["conflicts"] = s.conflicts;
  d["rescans"] = s.rescans;
  d["full_scans"] = s.full_scans;
  d["peak_work_bytes"] = s.work_bytes;
  d["seconds"] = seconds;
  return d;
}

py::tuple match(const py::array& latents, const py::array& sources, const std::string& order,
                int64_t cone, bool center, const std::optional<Labels>& source_groups,
                const std::optional<Labels>& latent_groups, const std::string& instruction_set,
                const std::shared_ptr<InnerProductIndex>& index, int threads, int64_t memory,
                const py::array_t<int64_t>& visited, int64_t start, const py::object& poll) {
  MatchInput in;
  in.latents = rows_of(latents, "latents");
  in.sources = rows_of(sources, "sources");
  if (in.latents.dim != in.sources.dim || in.latents.dim < 1 || in.sources.count < 1 ||
      in.sources.count > in.latents.count) {
    throw py::value_error("latents [m, dim] and sources [n, dim] must have 1 <= n <= m, dim >= 1");
  }
  in.order = order_of(order);
  in.cone = cone;
  in.center = center;
  in.source_groups = labels_of(source_groups, in.sources.count, "source_groups");
  in.latent_groups = labels_of(latent_groups, in.latents.count, "latent_groups");
  in.threads = threads;
  in.start = start;
  if (!in.source_groups != !in.latent_groups) {
    throw py::value_error("source_groups and latent_groups must be given together");
  }
  if (cone < 1 || threads < 1 || memory < 0) {
    throw py::value_error("cone and threads must be >= 1, memory >= 0");
  }
  if (visited.ndim() != 1 || visited.shape(0) != in.sources.count || !visited.writeable() ||
      !(visited.flags() & py::array::c_style)) {
    throw py::value_error("visited must be a writable int64 array with one entry a source");
  }
  if (start < 0 || start > in.sources.count) {
    throw py::value_error("start must lie between 0 and the number of sources");
  }
  const Kernel& kernel = select_kernel(instruction_set);
  in.kernels = &select_exact_kernels(kernel.name);

  py::array_t<int64_t> assignment(in.sources.count);
  py::array_t<double> cosine(in.sources.count);
  const MatchOutput out{assignment.mutable_data(), cosine.mutable_data(),
                        const_cast<int64_t*>(visited.data())};
  const int64_t m = in.latents.count, n = in.sources.count, dim = in.latents.dim;
  const Backend backend =
      index ? faiss_backend(*index, memory, m, n, dim) : cpu_backend(kernel, memory, m, n, dim);
  int64_t done = 0;
  auto last = std::chrono::steady_clock::now();
  const auto on_poll = [&] {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    const auto now = std::chrono::steady_clock::now();
    if (!poll.is_none() && now - last >= kPollInterval) {
      last = now;
      poll(done);
    }
  };
  Stats stats;
  {
    py::gil_scoped_release released;
    stats = match_rows(in, backend, out, done, on_poll);
  }
  stats.instruction_set = kernel.name;
  if (!poll.is_none()) poll(done);
  return py::make_tuple(assignment, cosine, dict_of(stats));
}

}  // namespace

void register_match(py::module_& m) {
  m.def("match_rows", &match, py::arg("latents").noconvert(), py::arg("sources").noconvert(),
        py::kw_only(), py::arg("order"), py::arg("cone"), py::arg("center"),
        py::arg("source_groups").none(true), py::arg("latent_groups").none(true),
        py::arg("instruction_set"), py::arg("index").none(true), py::arg("threads"),
        py::arg("memory"), py::arg("visited").noconvert(), py::arg("start"),
        py::arg("poll").none(true),
        "Match every source to a latent of its own (see gtn_label.match).");
}

}  // namespace gtn
