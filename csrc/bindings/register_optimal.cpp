// _core.optimal_rows: optimal transport; rows in, arrays out. _core.sharded_optimal_rows: the same
// over the latents of many processes.
#include "bindings/arguments.hpp"
#include "bindings/engine.hpp"
#include "bindings/gil.hpp"
#include "bindings/optimal_state.hpp"
#include "bindings/python_exchange.hpp"
#include "bindings/register.hpp"
#include "core/collective.hpp"
#include "core/optimal.hpp"
#include "core/sharded_chooser.hpp"
#include "core/transport_group.hpp"
#include "cpu/priced_cpu.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

py::dict found(const OptimalStats& stats) {
  py::dict d;
  d["phases"] = stats.auction.phases;
  d["rounds"] = stats.auction.rounds;
  d["bids"] = stats.auction.bids;
  d["scans"] = stats.auction.scans;
  d["full_scans"] = stats.auction.full_scans;
  d["batches"] = stats.auction.batches;
  d["epsilon"] = stats.epsilon;
  d["gap"] = stats.gap;
  d["rounding"] = stats.rounding;
  d["threads"] = stats.threads;
  d["distinct"] = stats.distinct;
  const auto& s = stats.auction.seconds;
  py::dict seconds;
  seconds["search"] = s.search;
  seconds["choose"] = s.choose - s.search;
  seconds["sell"] = s.sell;
  seconds["measure"] = s.measure;
  seconds["solve"] = stats.seconds;
  d["seconds"] = seconds;
  return d;
}

// Runs the auction over a backend's searches, and returns its arrays and what it found.
py::tuple run(const OptimalInput& in, const Priced& priced, PyOptimalState* state,
              const py::object& poll) {
  py::array_t<int64_t> assignment(in.sources.count);
  py::array_t<double> cosine(in.sources.count), prices(in.latent_count());
  const OptimalOutput out{assignment.mutable_data(), cosine.mutable_data(), prices.mutable_data()};
  int64_t placed = 0;
  const PythonPoll on_poll(poll, placed);
  const OptimalStats stats = gil::without_gil([&] {
    return optimal_rows(in, priced.backend, out, placed, on_poll,
                        state == nullptr ? nullptr : &state->snapshots);
  });
  on_poll.finish();
  py::dict d = found(stats);
  for (const auto& [name, value] : priced.more()) d[py::str(name)] = value;
  return py::make_tuple(assignment, cosine, prices, d);
}

py::tuple optimal(const py::object& latents, const py::object& sources, double tolerance,
                  bool center, const std::optional<Labels>& source_groups,
                  const std::optional<Labels>& latent_groups, const std::string& instruction_set,
                  const Engine& engine, int threads, int64_t memory, int64_t depth, int64_t longest,
                  int64_t sample_from, PyOptimalState* state, const py::object& poll) {
  const Arguments given{latents,       sources,       "index",         1,       center,
                        source_groups, latent_groups, instruction_set, threads, memory};
  const Task task = given.task();
  task.require_host();
  OptimalInput in;
  in.latents = task.in.latents;
  in.sources = task.in.sources;
  in.center = center;
  in.source_groups = task.in.source_groups;
  in.latent_groups = task.in.latent_groups;
  in.tolerance = tolerance;
  in.depth = depth;
  in.longest = longest;
  in.sample_from = std::max<int64_t>(2, sample_from);
  in.threads = threads;
  in.kernels = task.in.kernels;
  if (state != nullptr && state->resumed) in.resumed = &*state->resumed;
  return run(in, engine.priced(instruction_set, memory), state, poll);
}

const int64_t* labels_of(const std::optional<Labels>& labels, int64_t count) {
  if (!labels) return nullptr;
  if (labels->ndim() != 1 || labels->shape(0) != count) {
    throw py::value_error("groups must have one label a row of all processes");
  }
  return labels->data();
}

py::tuple sharded_optimal(const py::object& latents, const Indices& index,
                          const py::object& sources, int64_t total, const Values& mean,
                          double tolerance, bool center, const std::optional<Labels>& source_groups,
                          const std::optional<Labels>& latent_groups,
                          const std::string& instruction_set, int threads, int64_t depth,
                          int64_t longest, int64_t sample_from, const py::object& exchange,
                          PyOptimalState* state, const py::object& poll) {
  OptimalInput in;
  in.latents = rows_of(latents, "latents");
  in.sources = rows_of(sources, "sources");
  const std::span<const int64_t> rows = rows_among(index, in.latents, total);
  if (total > INT32_MAX - 64) throw py::value_error("total must be less than 2^31 - 64");
  if (in.sources.dim != in.latents.dim || in.sources.count < 1 || in.sources.count > total) {
    throw py::value_error("sources must have the dim of latents, and 1 to total rows");
  }
  if (mean.ndim() != 1 || mean.shape(0) != in.latents.dim) {
    throw py::value_error("mean must have shape [dim]");
  }
  if (depth < 2 || threads < 1) throw py::value_error("depth must be >= 2, threads >= 1");
  if (source_groups.has_value() != latent_groups.has_value()) {
    throw py::value_error("source_groups and latent_groups must both be given, or neither");
  }
  in.center = center;
  in.source_groups = labels_of(source_groups, in.sources.count);
  in.latent_groups = labels_of(latent_groups, total);
  in.tolerance = tolerance;
  in.depth = depth;
  in.longest = longest;
  in.sample_from = std::max<int64_t>(2, sample_from);
  in.threads = threads;
  in.kernels = select_instruction_set(instruction_set).exact;
  if (state != nullptr && state->resumed) in.resumed = &*state->resumed;
  PythonExchange python(exchange);
  ShardedStats stats;
  Collective ranks(python, stats, ShardedChooser::kBytesOfARound);
  const LatentShare share{ranks, rows, total, mean.data()};
  in.share = &share;
  const Priced priced{priced_cpu_backend(select_instruction_set(instruction_set)),
                      [] { return OwnStats{}; }};
  const py::tuple result = run(in, priced, state, poll);
  const py::dict d = result[3];
  d["collectives"] = stats.collectives;
  d["bytes_received"] = stats.received;
  d["seconds"]["exchange"] = stats.seconds.exchange;
  d["seconds"]["merge"] = stats.seconds.merge;
  return result;
}

py::array_t<int64_t> assign(const py::object& latents, const py::object& sources,
                            const py::array_t<double, py::array::c_style>& prices,
                            const std::string& instruction_set, int threads,
                            const py::object& poll) {
  OptimalInput in;
  in.latents = rows_of(latents, "latents");
  in.sources = rows_of(sources, "sources");
  in.threads = threads;
  in.kernels = select_instruction_set(instruction_set).exact;
  if (in.latents.dim != in.sources.dim || in.sources.count < 1 || prices.ndim() != 1 ||
      prices.shape(0) != in.latents.count) {
    throw py::value_error("latents [m, dim], sources [n, dim] and prices [m] must fit each other");
  }
  py::array_t<int64_t> assignment(in.sources.count);
  int64_t* out = assignment.mutable_data();
  const double* given = prices.data();
  int64_t done = 0;
  const PythonPoll on_poll(poll, done);
  gil::without_gil([&] {
    assign_rows(in, given, priced_cpu_backend(select_instruction_set(instruction_set)), out, done,
                on_poll);
  });
  on_poll.finish();
  return assignment;
}

}  // namespace

void register_optimal(py::module_& m) {
  m.def("optimal_rows", &optimal, py::arg("latents"), py::arg("sources"), py::kw_only(),
        py::arg("tolerance"), py::arg("center") = false, py::arg("source_groups") = py::none(),
        py::arg("latent_groups") = py::none(), py::arg("instruction_set"), py::arg("engine"),
        py::arg("threads"), py::arg("memory") = 0, py::arg("depth"), py::arg("longest") = 0,
        py::arg("sample_from") = OptimalInput{}.sample_from, py::arg("state") = nullptr,
        py::arg("poll").none(true), "Optimal transport (see gtn_label.match_optimal).");
  m.def("sharded_optimal_rows", &sharded_optimal, py::arg("latents"), py::arg("index"),
        py::arg("sources"), py::kw_only(), py::arg("total"), py::arg("mean"), py::arg("tolerance"),
        py::arg("center") = false, py::arg("source_groups") = py::none(),
        py::arg("latent_groups") = py::none(), py::arg("instruction_set"), py::arg("threads"),
        py::arg("depth"), py::arg("longest") = 0,
        py::arg("sample_from") = OptimalInput{}.sample_from, py::arg("exchange"),
        py::arg("state") = nullptr, py::arg("poll").none(true),
        "Optimal transport over latents of many processes (see match_optimal_sharded).");
  m.def("assign_rows", &assign, py::arg("latents"), py::arg("sources"), py::arg("prices"),
        py::kw_only(), py::arg("instruction_set"), py::arg("threads"), py::arg("poll").none(true),
        "The best latent at given prices (see gtn_label.Matching.assign).");
}

}  // namespace gtn
