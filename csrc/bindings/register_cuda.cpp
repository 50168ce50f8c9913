// The cuda backend for Python: _core.cuda_missing() says why there is none, empty if there is;
// where it was built, _core.cuda_devices(), cuda_kernels() and cuda_versions() say what there is,
// _core.CudaEngine is what match_rows takes, and _core.DeviceTensor and CudaStream bring arrays
// that lie on a device to it. _core.WrongKernel is raised by runs whose scan kernel was wrong.
#include "bindings/register.hpp"

#ifndef GTN_CUDA_BUILT

#include "cuda/kernel_names.hpp"

namespace gtn {

void register_cuda(pybind11::module_& m) {
  pybind11::exception<int>(m, "WrongKernel", PyExc_RuntimeError);
  m.def("cuda_missing", [] { return GTN_CUDA_MISSING; }, "Why the cuda backend cannot run here.");
  m.def("cuda_devices", [] { return pybind11::list(); }, "None.");
  m.def(
      "cuda_kernels",
      [] {
        pybind11::list rows;
        for (const cuda::KernelName& kernel : cuda::kKernelNames) {
          pybind11::dict row;
          row["name"] = kernel.name;
          row["description"] = kernel.description;
          rows.append(row);
        }
        return rows;
      },
      "The scan kernels that a build with CUDA has.");
}

}  // namespace gtn

#else

#include <memory>
#include <string>
#include <utility>

#include "bindings/device_tensor.hpp"
#include "bindings/engine.hpp"
#include "bindings/gil.hpp"
#include "cuda/backend_cuda.hpp"
#include "cuda/runtime_calls.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

class CudaEngine final : public Engine {
 public:
  // host: has free_cached() and warn(message), as cuda::Options wants them; or None.
  CudaEngine(int device, std::string kernel, int64_t stream, py::object host)
      : device_(device),
        kernel_(std::move(kernel)),
        stream_(reinterpret_cast<void*>(stream)),
        host_(std::move(host)) {}

  Ran match(const Task& task, const MatchOutput& out, int64_t& done, Poll poll) const override {
    cuda::Options options = options_for(task.memory);
    options.latents_on_device = task.latents_on_device;
    options.sources_on_device = task.sources_on_device;
    const cuda::DeviceStats stats = cuda::match_rows(task.in, options, out, done, poll);
    return {stats,
            {{"scan_products", stats.scan_products},
             {"latents_mapped", stats.latents_mapped},
             {"sources_mapped", stats.sources_mapped},
             {"codes_mapped", stats.codes_mapped},
             {"cache_freed", stats.cache_freed},
             {"kernel_fault", stats.kernel_fault}}};
  }

  Priced priced(const std::string& /*instruction_set*/, int64_t memory) const override {
    const auto stats = std::make_shared<cuda::PricedDeviceStats>();
    const PricedBackend backend = cuda::priced_backend(options_for(memory), *stats);
    return {backend, [stats] {
              const bool replaced = !stats->kernel_fault.empty();
              return OwnStats{{"instruction_set", std::string(replaced ? "plain" : "float32")},
                              {"kernel_fault", stats->kernel_fault},
                              {"scan_products", stats->products},
                              {"device_scores", stats->scores},
                              {"device_bytes", static_cast<double>(stats->device_bytes)},
                              {"cache_freed", stats->cache_freed}};
            }};
  }

 private:
  cuda::Options options_for(int64_t memory) const {
    cuda::Options options;
    options.device = device_;
    options.stream = stream_;
    options.kernel = kernel_;
    options.memory = memory;
    if (host_.is_none()) return options;
    // Captures no Python object: options are copied without the GIL.
    options.free_cached = [this, began = gil::generation.load()] {
      return gil::with_gil(began, [&] {
        return gil::call(host_.attr("free_cached"), py::make_tuple()).cast<bool>();
      });
    };
    options.warn = [this, began = gil::generation.load()](const std::string& text) {
      gil::with_gil(began, [&] { gil::call(host_.attr("warn"), py::make_tuple(text)); });
    };
    return options;
  }

  int device_;
  std::string kernel_;
  void* stream_;
  py::object host_;
};

py::list devices() {
  py::list rows;
  for (const cuda::Device& device : cuda::devices()) {
    py::dict missing;  // by kernel
    for (const cuda::Kernel& kernel : cuda::kernels()) {
      missing[py::str(kernel.name)] = cuda::missing(kernel.name, device);
    }
    py::dict row;
    row["index"] = device.index;
    row["name"] = device.name;
    row["capability"] = device.capability;
    row["memory"] = device.memory;
    row["missing"] = missing;
    rows.append(row);
  }
  return rows;
}

py::list kernels() {
  py::list rows;
  for (const cuda::Kernel& kernel : cuda::kernels()) {
    py::dict row;
    row["name"] = kernel.name;
    row["description"] = kernel.description;
    rows.append(row);
  }
  return rows;
}

void register_arrays(py::module_& m) {
  py::class_<cuda::Stream>(m, "CudaStream", "A stream of its own on a device.")
      .def(py::init<int>(), py::arg("device"))
      .def_property_readonly(
          "handle", [](const cuda::Stream& s) { return reinterpret_cast<intptr_t>(s.handle()); });
  py::class_<DeviceRows>(m, "DeviceRows", "Rows on a device, as match_rows takes them.")
      .def_property_readonly(
          "shape", [](const DeviceRows& r) { return py::make_tuple(r.rows.count, r.rows.dim); });
  py::class_<DeviceTensor>(m, "DeviceTensor", "An array on a device, borrowed of its owner.")
      .def(py::init<py::object, int64_t>(), py::arg("owner"), py::arg("stream"))
      .def_property_readonly("dtype", &DeviceTensor::dtype)
      .def_property_readonly("shape", &DeviceTensor::shape)
      .def_property_readonly("device", &DeviceTensor::device)
      .def("rows", &DeviceTensor::rows, py::arg("name"))
      .def("to_host", &DeviceTensor::to_host);
}

}  // namespace

void register_cuda(py::module_& m) {
  py::register_local_exception<cuda::WrongKernel>(m, "WrongKernel", PyExc_RuntimeError);
  py::register_local_exception_translator([](std::exception_ptr raised) {
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const cuda::OutOfMemory& error) {
      PyErr_SetString(PyExc_MemoryError, error.what());
    }
  });
  m.def("cuda_missing", [] { return cuda::missing(); }, "Why the cuda backend cannot run here.");
  m.def("cuda_devices", &devices, "All devices, usable or not, and which kernels each lacks.");
  m.def("cuda_kernels", &kernels, "Scan kernels of the cuda backend, best first.");
  m.def(
      "cuda_versions",
      [] {
        const cuda::Versions v = cuda::versions();
        return py::make_tuple(v.driver, v.runtime);
      },
      "CUDA of the driver and of this build: 1000 * major + 10 * minor.");
  register_arrays(m);
  py::class_<CudaEngine, Engine>(m, "CudaEngine", "The cuda backend on one device.")
      .def(py::init<int, std::string, int64_t, py::object>(), py::arg("device"), py::arg("kernel"),
           py::arg("stream"), py::arg("host") = py::none());
}

}  // namespace gtn

#endif
