#include "bindings/python_index.hpp"

#include <pybind11/numpy.h>

#include <cstring>
#include <string>
#include <utility>

namespace py = pybind11;

namespace gtn {
namespace {

// A read-only array over the engine's memory, for the time of one call.
py::array view(const FloatRows& rows) {
  const py::capsule nothing_to_free(rows.data, [](void*) {});
  py::array_t<float> array({rows.count, rows.dim}, rows.data, nothing_to_free);
  array.attr("flags").attr("writeable") = false;
  return array;
}

template <class T>
void copy(const py::handle& from, int64_t rows, int64_t k, const char* what, std::span<T> to) {
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(from)) {
    throw py::type_error(std::string("search() must return C-contiguous ") + what);
  }
  const auto array = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(from);
  if (array.ndim() != 2 || array.shape(0) != rows || array.shape(1) != k) {
    throw py::value_error(std::string("search() must return ") + what + " of shape (" +
                          std::to_string(rows) + ", " + std::to_string(k) + ")");
  }
  std::memcpy(to.data(), array.data(), to.size_bytes());
}

}  // namespace

PythonIndex::PythonIndex(py::object index)
    : index_(std::move(index)),
      reads_rows_(index_.attr("reads_rows").cast<bool>()),
      concurrent_(index_.attr("concurrent").cast<bool>()),
      most_k_(index_.attr("most_k").cast<int64_t>()) {}

void PythonIndex::train(const FloatRows& rows) {
  gil::with_gil(began_, [&] { gil::call(index_.attr("train"), py::make_tuple(view(rows))); });
}

void PythonIndex::load(const FloatRows& rows) {
  gil::with_gil(began_, [&] { gil::call(index_.attr("load"), py::make_tuple(view(rows))); });
}

void PythonIndex::search(const FloatRows& rows, const FloatRows& queries, int64_t k,
                         std::span<float> scores, std::span<int64_t> positions) {
  gil::with_gil(began_, [&] {
    const py::object given = reads_rows_ ? py::object(view(rows)) : py::object(py::none());
    const py::tuple found =
        gil::call(index_.attr("search"), py::make_tuple(given, view(queries), k));
    if (found.size() != 2) throw py::type_error("search() must return (scores, positions)");
    copy(found[0], queries.count, k, "float32 scores", scores);
    copy(found[1], queries.count, k, "int64 positions", positions);
  });
}

}  // namespace gtn
