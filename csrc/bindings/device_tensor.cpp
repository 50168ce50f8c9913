#include "bindings/device_tensor.hpp"

#include <algorithm>
#include <vector>

#include "bindings/gil.hpp"
#include "cuda/runtime_calls.hpp"
#include "cuda/widen.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

using cuda::Element;

std::string name_of(const dlpack::DataType& type) {
  const std::string bits = std::to_string(type.bits);
  std::string name = "DLPack type " + std::to_string(type.code) + " of " + bits + " bits";
  if (type.code == dlpack::kInt) name = "int" + bits;
  if (type.code == dlpack::kUInt) name = "uint" + bits;
  if (type.code == dlpack::kFloat) name = "float" + bits;
  if (type.code == dlpack::kBFloat) name = "bfloat" + bits;
  if (type.code == dlpack::kComplex) name = "complex" + bits;
  if (type.code == dlpack::kBool) name = "bool";
  return type.lanes == 1 ? name : name + " x " + std::to_string(type.lanes);
}

struct Known {
  const char* name;
  Element element;
};
constexpr Known kElements[] = {
    {"float16", Element::f16}, {"bfloat16", Element::bf16}, {"float32", Element::f32},
    {"float64", Element::f64}, {"int8", Element::i8},       {"int16", Element::i16},
    {"int32", Element::i32},   {"int64", Element::i64},     {"uint8", Element::u8},
    {"uint16", Element::u16},  {"uint32", Element::u32},    {"uint64", Element::u64},
};

Element element_of(const std::string& dtype) {
  const auto* found = std::ranges::find(kElements, dtype, &Known::name);
  if (found == std::end(kElements)) throw py::type_error("no rows of the engine's: " + dtype);
  return found->element;
}

}  // namespace

DeviceTensor::DeviceTensor(const py::object& owner, int64_t stream)
    : tensor_(std::make_shared<const BorrowedTensor>(owner, stream)),
      stream_(reinterpret_cast<void*>(stream)) {
  const int32_t type = (*tensor_)->device.type;
  if (type != dlpack::kCuda && type != dlpack::kCudaManaged) {
    throw py::buffer_error("__dlpack__ gave a tensor on a device of type " + std::to_string(type) +
                           ", not on CUDA's");
  }
}

std::string DeviceTensor::dtype() const {
  return name_of((*tensor_)->dtype);
}

py::tuple DeviceTensor::shape() const {
  const dlpack::Tensor& t = **tensor_;
  py::tuple shape(t.ndim);
  for (int32_t axis = 0; axis < t.ndim; ++axis) shape[axis] = t.shape[axis];
  return shape;
}

DeviceRows DeviceTensor::rows(const char* name) const {
  const dlpack::Tensor& t = **tensor_;
  if (t.ndim != 2) throw py::type_error(std::string(name) + " must be 2-D");
  const cuda::StridedRows given{tensor_->data(), element_of(dtype()), t.shape[0],
                                t.shape[1],      tensor_->stride(0),  tensor_->stride(1)};
  if (reinterpret_cast<uintptr_t>(given.data) % (t.dtype.bits / 8) != 0) {
    throw py::value_error(std::string(name) + " must be aligned to its elements of " +
                          std::to_string(t.dtype.bits / 8) + " bytes, got data at " +
                          std::to_string(reinterpret_cast<uintptr_t>(given.data)));
  }
  DeviceRows result;
  result.device = device();
  result.owner = tensor_;
  if (!given.is_engine_layout()) {
    result.copy = gil::without_gil([&] { return cuda::widen(given, name, device(), stream_); });
  }
  result.rows = {.data = result.copy ? result.copy.get() : given.data,
                 .dtype = given.engine_type(),
                 .count = given.count,
                 .dim = given.dim};
  return result;
}

py::array DeviceTensor::to_host() const {
  const dlpack::Tensor& t = **tensor_;
  const int64_t item = t.dtype.bits / 8 * t.dtype.lanes;
  const py::dtype type(t.dtype.code == dlpack::kBFloat ? "uint16" : dtype());
  std::vector<py::ssize_t> shape, strides;
  int64_t first = 0, last = 0, count = 1;  // elements that memory holds before and after data()
  for (int32_t axis = 0; axis < t.ndim; ++axis) {
    shape.push_back(t.shape[axis]);
    strides.push_back(tensor_->stride(axis) * item);
    count *= t.shape[axis];
    const int64_t reach = (t.shape[axis] - 1) * tensor_->stride(axis);
    (reach < 0 ? first : last) += reach;
  }
  if (count == 0) return py::array(type, shape);
  py::array_t<uint8_t> bytes((last - first + 1) * item);
  uint8_t* to = bytes.mutable_data();
  gil::without_gil([&] {
    cuda::copy_to_host(to, static_cast<const uint8_t*>(tensor_->data()) + first * item,
                       bytes.size(), device(), stream_);
  });
  return py::array(type, shape, strides, to - first * item, bytes);
}

}  // namespace gtn
