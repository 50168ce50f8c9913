// DeviceTensor: an array of another library on a CUDA device, and the rows made of it. Linked only
// where GTN_CUDA built the device's part. Python checks dtypes and shapes
// (gtn_label/arrays/on_gpu.py).
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <string>

#include "bindings/device_rows.hpp"
#include "bindings/dlpack.hpp"

namespace gtn {

class DeviceTensor {
 public:
  // Ready on the stream (cudaStream_t; 1 for the default one), on which all work is done.
  DeviceTensor(const pybind11::object& owner, int64_t stream);

  std::string dtype() const;  // as NumPy calls it, "bfloat16" too
  pybind11::tuple shape() const;
  int device() const { return (*tensor_)->device.id; }

  // [n, dim] of a dtype of the contract's rule 1, converted on the device where the engine cannot
  // take them as they are.
  DeviceRows rows(const char* name) const;
  // A copy with the same strides; bfloat16 as the uint16 of its bits.
  pybind11::array to_host() const;

 private:
  std::shared_ptr<const BorrowedTensor> tensor_;
  void* stream_;
};

}  // namespace gtn
