// Arrays of other libraries, by the DLPack protocol: the layout in memory that the standard fixes
// (dmlc.github.io/dlpack, versions 0.8 and 1), and the consumer's side of an exchange. What the
// arrays are for, and on which device, is the caller's to judge.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace gtn {

namespace dlpack {

struct Device {
  int32_t type;
  int32_t id;
};
constexpr int32_t kCuda = 2, kCudaManaged = 13;

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
constexpr uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kComplex = 5, kBool = 6;

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;    // [ndim]
  int64_t* strides;  // [ndim] in elements; null: C-contiguous
  uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed* self);
};

struct ManagedVersioned {
  uint32_t major;
  uint32_t minor;
  void* context;
  void (*deleter)(ManagedVersioned* self);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace dlpack

// An array as its owner lends it, for the life time of the object. To be made and destroyed with
// the GIL.
class BorrowedTensor {
 public:
  // stream: as the protocol numbers it, 1 for CUDA's default stream: on it the array is ready.
  // Raises what the owner raises, and BufferError if it does not keep to the protocol.
  BorrowedTensor(const pybind11::object& owner, int64_t stream);
  ~BorrowedTensor();
  BorrowedTensor(const BorrowedTensor&) = delete;
  BorrowedTensor& operator=(const BorrowedTensor&) = delete;

  const dlpack::Tensor& operator*() const { return *tensor_; }
  const dlpack::Tensor* operator->() const { return tensor_; }
  int64_t stride(int32_t axis) const;  // in elements
  const void* data() const;            // the first element

 private:
  dlpack::Managed* old_ = nullptr;  // either this
  dlpack::ManagedVersioned* versioned_ = nullptr;
  const dlpack::Tensor* tensor_ = nullptr;
};

}  // namespace gtn
