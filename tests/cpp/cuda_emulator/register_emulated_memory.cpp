// In a build for tests alone (GTN_CUDA=EMULATED): _core.EmulatedMemory is memory of an emulated
// device, so that arrays of the tests can lie there; _core.read_rows() gives back what the engine
// is handed of them.
#include <cuda_runtime.h>
#include <pybind11/numpy.h>

#include <string>

#include "bindings/device_rows.hpp"
#include "bindings/register.hpp"
#include "cuda/on_device.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

class EmulatedMemory {
 public:
  EmulatedMemory(const py::bytes& content, int device) : device_(device) {
    const std::string bytes = content;
    const cuda::OnDevice there(device);
    cuda::check(cudaMalloc(&data_, bytes.size()), "allocating");
    cuda::check(cudaMemcpy(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copying");
  }
  ~EmulatedMemory() {
    try {
      const cuda::OnDevice there(device_);
      cudaFree(data_);
    } catch (const cuda::Error&) {  // the test that had this device is over
    }
  }
  EmulatedMemory(const EmulatedMemory&) = delete;
  EmulatedMemory& operator=(const EmulatedMemory&) = delete;

  intptr_t address() const { return reinterpret_cast<intptr_t>(data_); }

 private:
  int device_;
  void* data_ = nullptr;
};

py::array read_rows(const DeviceRows& given) {
  const Rows& rows = given.rows;
  py::array array(py::dtype(rows.dtype == DType::f32 ? "float32" : "float64"),
                  {rows.count, rows.dim});
  const cuda::OnDevice there(given.device);
  cuda::check(cudaDeviceSynchronize(), "waiting for a conversion");
  cuda::check(cudaMemcpy(array.mutable_data(), rows.data, static_cast<size_t>(array.nbytes()),
                         cudaMemcpyDeviceToHost),
              "copying");
  return array;
}

}  // namespace

void register_emulated_memory(py::module_& m) {
  py::class_<EmulatedMemory>(m, "EmulatedMemory", "Bytes in the memory of an emulated device.")
      .def(py::init<py::bytes, int>(), py::arg("content"), py::arg("device"))
      .def_property_readonly("address", &EmulatedMemory::address);
  m.def("read_rows", &read_rows, py::arg("rows"), "Rows on a device as an array.");
}

}  // namespace gtn
