#include "bindings/dlpack.hpp"

#include <cstring>
#include <string>

#include "bindings/gil.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

// A capsule is spent by renaming it: its owner then leaves the tensor to us.
constexpr const char* kName = "dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";
constexpr const char* kSpentName = "used_dltensor";
constexpr const char* kSpentVersionedName = "used_dltensor_versioned";
constexpr uint32_t kMajor = 1;

py::object ask(const py::object& owner, int64_t stream) {
  const py::object lend = owner.attr("__dlpack__");
  try {
    return gil::call(
        lend, py::tuple(),
        py::dict(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(kMajor, 0)));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return gil::call(lend, py::tuple(),
                   py::dict(py::arg("stream") = stream));  // an owner from before version 1
}

template <class Managed>
Managed* spend(const py::object& capsule, const char* name, const char* spent_name) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), spent_name) != 0) {
    throw py::error_already_set();
  }
  return managed;
}

template <class Managed>
void give_back(Managed* managed) {
  if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
}

}  // namespace

BorrowedTensor::BorrowedTensor(const py::object& owner, int64_t stream) {
  const py::object capsule = ask(owner, stream);
  if (PyCapsule_IsValid(capsule.ptr(), kVersionedName)) {
    versioned_ = spend<dlpack::ManagedVersioned>(capsule, kVersionedName, kSpentVersionedName);
    if (versioned_->major != kMajor) {  // what follows its deleter may lie elsewhere
      const std::string version = std::to_string(versioned_->major);
      give_back(versioned_);
      throw py::buffer_error("__dlpack__ gave version " + version + " of the protocol, not 1");
    }
    tensor_ = &versioned_->tensor;
  } else if (PyCapsule_IsValid(capsule.ptr(), kName)) {
    old_ = spend<dlpack::Managed>(capsule, kName, kSpentName);
    tensor_ = &old_->tensor;
  } else {
    throw py::buffer_error("__dlpack__ must return a capsule that holds a DLPack tensor");
  }
}

BorrowedTensor::~BorrowedTensor() {
  give_back(old_);
  give_back(versioned_);
}

int64_t BorrowedTensor::stride(int32_t axis) const {
  if (tensor_->strides != nullptr) return tensor_->strides[axis];
  int64_t stride = 1;
  for (int32_t later = axis + 1; later < tensor_->ndim; ++later) stride *= tensor_->shape[later];
  return stride;
}

const void* BorrowedTensor::data() const {
  return static_cast<const unsigned char*>(tensor_->data) + tensor_->byte_offset;
}

}  // namespace gtn
