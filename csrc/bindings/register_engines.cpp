// The engines of the CPU that match_rows takes: _core.CpuEngine(), _core.FaissEngine(index) and
// _core.ApproxEngine(index); and the ways to FAISS: _core.PythonIndex(object) searches through the
// installed Python package, _core.LinkedFlatIndex() through the C++ library where this build has
// it; _core.linked_faiss says which version that is, or why there is none.
#include <memory>
#include <utility>

#include "bindings/engine.hpp"
#include "bindings/python_index.hpp"
#include "bindings/register.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/instruction_sets.hpp"
#include "cpu/priced_cpu.hpp"
#include "faiss/backend_faiss.hpp"
#ifdef GTN_FAISS_LINKED
#include "faiss/linked_index.hpp"
#endif

namespace py = pybind11;

namespace gtn {
namespace {

Backend cpu(const Task& task) {
  return cpu_backend(select_instruction_set(task.instruction_set), task.memory,
                     task.in.latents.count, task.in.sources.count, task.in.latents.dim);
}

// Runs the loop of the core over the shortlists of a backend.
class ShortlistEngine : public Engine {
 public:
  Ran match(const Task& task, const MatchOutput& out, int64_t& done, Poll poll) const final {
    task.require_host();
    Stats stats = match_rows(task.in, backend(task), out, done, poll);
    stats.instruction_set = select_instruction_set(task.instruction_set).name;
    return {std::move(stats), {}};
  }

 protected:
  virtual Backend backend(const Task& task) const = 0;
};

class CpuEngine final : public ShortlistEngine {
 public:
  Priced priced(const std::string& instruction_set, int64_t) const override {
    return {priced_cpu_backend(select_instruction_set(instruction_set)), [] { return OwnStats{}; }};
  }

 protected:
  Backend backend(const Task& task) const override { return cpu(task); }
};

class FaissEngine final : public ShortlistEngine {
 public:
  explicit FaissEngine(std::shared_ptr<InnerProductIndex> index) : index_(std::move(index)) {}

 protected:
  Backend backend(const Task& task) const override {
    return faiss_backend(*index_, task.memory, task.in.latents.count, task.in.sources.count,
                         task.in.latents.dim);
  }

 private:
  std::shared_ptr<InnerProductIndex> index_;
};

class ApproxEngine final : public ShortlistEngine {
 public:
  explicit ApproxEngine(std::shared_ptr<InnerProductIndex> index) : index_(std::move(index)) {}

 protected:
  Backend backend(const Task& task) const override { return approx_backend(*index_, cpu(task)); }

 private:
  std::shared_ptr<InnerProductIndex> index_;
};

void register_indexes(py::module_& m) {
  py::class_<InnerProductIndex, std::shared_ptr<InnerProductIndex>>(
      m, "InnerProductIndex", "Finds rows of large inner product: a way to FAISS.");
  py::class_<PythonIndex, InnerProductIndex, std::shared_ptr<PythonIndex>>(
      m, "PythonIndex", "A Python object that searches (gtn_label.backend.faiss_exact).")
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

}  // namespace

void register_engines(py::module_& m) {
  register_indexes(m);
  py::class_<Engine>(m, "Engine", "What computes a run.");
  py::class_<CpuEngine, Engine>(m, "CpuEngine", "The CPU backend.").def(py::init<>());
  py::class_<FaissEngine, Engine>(m, "FaissEngine", "FAISS's exhaustive search.")
      .def(py::init<std::shared_ptr<InnerProductIndex>>(), py::arg("index").none(false));
  py::class_<ApproxEngine, Engine>(m, "ApproxEngine", "The approximate mode, over any index.")
      .def(py::init<std::shared_ptr<InnerProductIndex>>(), py::arg("index").none(false));
}

}  // namespace gtn
