// Rows that lie on a device: what Python borrows of their owner, and what match_rows takes instead
// of an array. Built everywhere, made only where CUDA is (register_cuda.cpp).
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <string>

#include "bindings/dlpack.hpp"
#include "core/rows.hpp"

namespace gtn {

// Rows as the engine takes them, without a name. To be destroyed with the GIL.
struct DeviceRows {
  Rows rows;
  int device = 0;
  std::shared_ptr<const BorrowedTensor> owner;
  std::shared_ptr<const void> copy;  // where they had to be converted
};

}  // namespace gtn
