// _core.cuda_rates() and _core.cuda_kernel_rate() measure what a device can do when nothing else
// happens, for benchmarks; _core.cuda_scan_check() compares a scan kernel with the plain one. Only
// where the cuda backend was built.
#include "bindings/gil.hpp"
#include "bindings/register.hpp"
#include "cuda/device_rates.hpp"

namespace py = pybind11;

namespace gtn {
namespace {

void require_counts(int64_t dim, int64_t latents, int64_t sources) {
  if (dim >= 1 && latents >= 1 && sources >= 1) return;
  throw py::value_error("dim, latents and sources must be >= 1, got " + std::to_string(dim) + ", " +
                        std::to_string(latents) + " and " + std::to_string(sources));
}

}  // namespace

void register_cuda_rate(py::module_& m) {
  m.def(
      "cuda_rates",
      [](int device, int64_t copied, double seconds) {
        if (copied < 1) throw py::value_error("copied must be >= 1, got " + std::to_string(copied));
        const cuda::DeviceRates rates =
            gil::without_gil([&] { return cuda::device_rates(device, copied, seconds); });
        py::dict d;
        d["int8_operations"] = rates.int8_operations;
        d["fp16_operations"] = rates.fp16_operations;
        d["copied_bytes"] = rates.copied_bytes;
        return d;
      },
      py::arg("device"), py::arg("copied"), py::arg("seconds"),
      "Operations a second of the matrix units, a multiply-add being two; bytes a second of a copy "
      "within the device's memory, those read and those written.");
  m.def(
      "cuda_kernel_rate",
      [](int device, const std::string& kernel, int64_t dim, int64_t latents, int64_t sources,
         double seconds) {
        require_counts(dim, latents, sources);
        const cuda::KernelRate rate = gil::without_gil(
            [&] { return cuda::kernel_rate(device, kernel, dim, latents, sources, seconds); });
        py::dict d;
        d["operations"] = rate.operations;
        d["bytes"] = rate.bytes;
        return d;
      },
      py::arg("device"), py::arg("kernel"), py::arg("dim"), py::arg("latents"), py::arg("sources"),
      py::arg("seconds"),
      "A second of a scan kernel alone: operations that are of use, and bytes.");
  m.def(
      "cuda_scan_check",
      [](const std::string& kernel, int64_t dim, int64_t latents, int64_t sources, int device,
         uint32_t seed) {
        require_counts(dim, latents, sources);
        const cuda::KernelCheck found = gil::without_gil(
            [&] { return cuda::kernel_check(device, kernel, dim, latents, sources, seed); });
        py::dict d;
        d["bounds"] = found.bounds;
        d["wrong"] = found.wrong;
        d["first"] = py::none();
        if (found.wrong > 0) {
          py::dict first;
          first["source"] = found.source;
          first["group"] = found.group;
          first["found"] = found.found;
          first["expected"] = found.expected;
          d["first"] = first;
        }
        return d;
      },
      py::arg("kernel"), py::arg("dim"), py::arg("latents"), py::arg("sources"),
      py::arg("device") = 0, py::arg("seed") = 1,
      "Compares all bounds of a scan kernel with those of dp4a, bit for bit, on random codes of "
      "several cells with dead latents: the number of bounds, of wrong ones, and the first wrong.");
}

}  // namespace gtn
