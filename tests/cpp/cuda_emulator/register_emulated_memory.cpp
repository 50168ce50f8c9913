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
  EmulatedMemory(size_t bytes, int device) : bytes_(bytes), device_(device) {
    const cuda::OnDevice there(device);
    cuda::check(cudaMalloc(&data_, bytes), "allocating");
  }
  ~EmulatedMemory() {
    const cuda::OnDevice there(device_, std::nothrow);  // the test that had it may be over
    cudaDeviceSynchronize();
    cudaFree(data_);
  }
  EmulatedMemory(const EmulatedMemory&) = delete;
  EmulatedMemory& operator=(const EmulatedMemory&) = delete;

  // Once the stream gets there.
  void write(const py::bytes& content, intptr_t stream) {
    const std::string bytes = content;
    if (bytes.size() != bytes_) throw py::value_error("content must fill the memory");
    const cuda::OnDevice there(device_);
    cuda::check(cudaMemcpyAsync(data_, bytes.data(), bytes_, cudaMemcpyHostToDevice,
                                reinterpret_cast<cudaStream_t>(stream)),
                "copying");
  }
  intptr_t address() const { return reinterpret_cast<intptr_t>(data_); }

 private:
  size_t bytes_;
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
      .def(py::init<size_t, int>(), py::arg("bytes"), py::arg("device"))
      .def("write", &EmulatedMemory::write, py::arg("content"), py::arg("stream"))
      .def_property_readonly("address", &EmulatedMemory::address);
  m.def("read_rows", &read_rows, py::arg("rows"), "Rows on a device as an array.");
}

}  // namespace gtn
