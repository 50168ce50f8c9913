// _core.GuardedRange(address, size): a mapped file's memory, guarded until close().
#include <memory>

#include "bindings/register.hpp"
#include "core/guarded_range.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

class Guard {
 public:
  Guard(uintptr_t address, size_t bytes) : range_(std::make_unique<GuardedRange>(address, bytes)) {}

  bool broken() const { return range_ ? range_->broken() : broken_; }

  void close() {
    broken_ = broken();
    range_.reset();
  }

 private:
  std::unique_ptr<GuardedRange> range_;
  bool broken_ = false;
};

}  // namespace

void register_guarded_range(py::module_& m) {
  py::class_<Guard>(m, "GuardedRange", "Memory of a mapped file, guarded until close().")
      .def(py::init<uintptr_t, size_t>(), py::arg("address"), py::arg("size"))
      .def_property_readonly("broken", &Guard::broken)
      .def("close", &Guard::close);
}

}  // namespace gtn
