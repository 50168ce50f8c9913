// The ways to FAISS that match_rows takes as `index`: _core.PythonIndex(object) searches through
// the installed Python package, _core.LinkedFlatIndex() through the C++ library where this build
// has it; _core.linked_faiss says which version that is, or why there is none.
#include <memory>

#include "bindings/python_index.hpp"
#include "bindings/register.hpp"
#ifdef GTN_FAISS_LINKED
#include "faiss/linked_index.hpp"
#endif

namespace py = pybind11;

namespace gtn {

void register_indexes(py::module_& m) {
  py::class_<InnerProductIndex, std::shared_ptr<InnerProductIndex>>(
      m, "InnerProductIndex", "What finds rows of large inner product: a way to FAISS.");
  py::class_<PythonIndex, InnerProductIndex, std::shared_ptr<PythonIndex>>(
      m, "PythonIndex", "A Python object that searches (gtn_label.faiss_index).")
      .def(py::init<py::object>(), py::arg("index"));
  py::dict linked;
#ifdef GTN_FAISS_LINKED
  py::class_<LinkedFlatIndex, InnerProductIndex, std::shared_ptr<LinkedFlatIndex>>(
      m, "LinkedFlatIndex", "Exhaustive search on the CPU by the linked library.")
      .def(py::init<>());
  linked["version"] = linked_faiss_version();
  linked["missing"] = "";
#else
  linked["version"] = "";
  linked["missing"] = GTN_FAISS_MISSING;
#endif
  m.attr("linked_faiss") = linked;
}

}  // namespace gtn
