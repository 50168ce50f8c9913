#include "bindings/arguments.hpp"

#include "bindings/device_rows.hpp"
#include "cpu/instruction_sets.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);

Rows rows_of_array(const py::object& given, const char* name) {
  if (!py::isinstance<py::array>(given)) {
    throw py::type_error(std::string(name) + " must be a NumPy array or rows on a device");
  }
  const auto a = py::reinterpret_borrow<py::array>(given);
  Rows rows;
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
  return rows;
}

bool on_device(const py::object& given) {
  return py::isinstance<DeviceRows>(given);
}

const int64_t* labels_of(const std::optional<Labels>& labels, int64_t n, const char* name) {
  if (!labels) return nullptr;
  if (labels->ndim() != 1 || labels->shape(0) != n) {
    throw py::value_error(std::string(name) + " must be 1-D with one label a row");
  }
  return labels->data();
}

}  // namespace

Rows rows_of(const py::object& given, const char* name) {
  Rows rows = on_device(given) ? given.cast<const DeviceRows&>().rows : rows_of_array(given, name);
  rows.name = name;
  if (rows.count >= INT32_MAX - 64) {
    throw py::value_error(std::string(name) + " must have fewer than 2^31 - 64 rows, got " +
                          std::to_string(rows.count));
  }
  return rows;
}

Order order_of(const std::string& name) {
  if (name == "norm") return Order::norm;
  if (name == "norm_desc") return Order::norm_desc;
  if (name == "index") return Order::index;
  throw py::value_error("order must be norm, norm_desc or index, got '" + name + "'");
}

void Task::require_host() const {
  if (latents_on_device || sources_on_device) {
    throw py::type_error("rows on a device are for the cuda backend alone");
  }
}

Task Arguments::task() const {
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
  if (!in.source_groups != !in.latent_groups) {
    throw py::value_error("source_groups and latent_groups must be given together");
  }
  if (cone < 1 || threads < 1 || memory < 0) {
    throw py::value_error("cone and threads must be >= 1, memory >= 0");
  }
  in.kernels = select_instruction_set(instruction_set).exact;
  return {in, on_device(latents), on_device(sources), instruction_set, memory};
}

void PythonPoll::operator()() const {
  gil::with_gil(began_, [this] {
    if (gil::parked_at_exit(&PyErr_CheckSignals) != 0) throw py::error_already_set();
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kPollInterval) return;
    last_ = now;
    finish();
  });
}

void PythonPoll::finish() const {
  if (!poll_.is_none()) gil::call(poll_, py::make_tuple(done_));
}

}  // namespace gtn
