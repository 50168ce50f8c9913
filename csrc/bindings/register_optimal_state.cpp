// Registers _core.OptimalState: the state of optimal_rows as arrays, for checkpoints.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "bindings/optimal_state.hpp"
#include "bindings/register.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

// The counts of a state, in the order of the array "auction".
constexpr std::array kCounts{&OptimalState::groups,  &OptimalState::phases,
                             &OptimalState::rounds,  &OptimalState::bids,
                             &OptimalState::scans,   &OptimalState::full_scans,
                             &OptimalState::batches, &OptimalState::distinct,
                             &OptimalState::epsilon, &OptimalState::phases_of_group,
                             &OptimalState::bidders, &OptimalState::level};

template <class T>
py::array_t<T> array_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <class T>
std::vector<T> vector_of(const py::dict& arrays, const char* name) {
  const std::string word = std::string("auction must have the array ") + name;
  if (!arrays.contains(name)) throw py::value_error(word);
  const py::object given = arrays[name];
  if (!py::isinstance<py::array_t<T>>(given) || py::array(given).ndim() != 1) {
    throw py::value_error(word + " in one dimension and its own type");
  }
  const auto values = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(given);
  return {values.data(), values.data() + values.size()};
}

py::dict arrays_of(const PyOptimalState& state) {
  const OptimalState now = state.snapshots.now();
  std::vector<int64_t> counts;
  for (const auto count : kCounts) counts.push_back(now.*count);
  py::dict arrays;
  arrays["auction"] = array_of(counts);
  arrays["holds"] = array_of(now.holds);
  arrays["price"] = array_of(now.price);
  arrays["prices"] = array_of(now.prices);
  arrays["gap"] = array_of(std::vector<double>{now.gap, now.rounding, now.cost});
  return arrays;
}

void resume(PyOptimalState& state, const py::dict& arrays) {
  OptimalState from;
  const auto counts = vector_of<int64_t>(arrays, "auction");
  const auto gap = vector_of<double>(arrays, "gap");
  if (counts.size() != kCounts.size() || gap.size() != 3) {
    throw py::value_error("auction must have 12 counts, and 3 numbers of a gap");
  }
  for (size_t i = 0; i < kCounts.size(); ++i) from.*kCounts[i] = counts[i];
  from.gap = gap[0];
  from.rounding = gap[1];
  from.cost = gap[2];
  from.holds = vector_of<int64_t>(arrays, "holds");
  from.price = vector_of<int64_t>(arrays, "price");
  from.prices = vector_of<double>(arrays, "prices");
  state.snapshots.begin(from);
  state.resumed = std::move(from);
}

}  // namespace

void register_optimal_state(py::module_& m) {
  py::class_<PyOptimalState>(m, "OptimalState")
      .def(py::init([](bool keeps) {
             auto state = std::make_unique<PyOptimalState>();
             state->snapshots.keeps = keeps;
             return state;
           }),
           py::arg("keeps"), "`keeps`: the last state, when the run has ended.")
      .def("resume", &resume, py::arg("arrays"), "Begin from the arrays of an earlier run.")
      .def("arrays", &arrays_of, "The state of the run, in a poll or after its end.")
      .def_property_readonly("stage",
                             [](const PyOptimalState& s) {
                               const Stage t = s.snapshots.stage();
                               return py::make_tuple(t.group, t.groups, t.phase, t.phases, t.gap,
                                                     t.sampled);
                             })
      .def_property_readonly("steps", [](const PyOptimalState& s) { return s.snapshots.steps(); });
}

}  // namespace gtn
