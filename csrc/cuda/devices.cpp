// Lists devices and kernels, each with the reason when it cannot run: the part of backend_cuda.hpp
// that makes no context.
#include <algorithm>

#include "cuda/backend_cuda.hpp"
#include "cuda/kernel_trust.hpp"
#include "cuda/scan_kernels.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {
namespace {

// As CUDA writes a version: 12040 is 12.4.
std::string version(int v) {
  return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10);
}
std::string capability(int c) {
  return std::to_string(c / 10) + "." + std::to_string(c % 10);
}

}  // namespace

std::string missing() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return "";
  cudaGetLastError();  // or a later call would report it
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return "no NVIDIA driver is installed here";
    return "the NVIDIA driver here is for CUDA " + version(driver) + ", and this build needs " +
           version(runtime) + " or later: update the driver";
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) {
    return "no CUDA device is visible here (see CUDA_VISIBLE_DEVICES)";
  }
  return std::string("CUDA does not start: ") + cudaGetErrorString(status);
}

std::vector<Device> devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  std::vector<Device> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, i), "asking for a device's properties");
    found.push_back({i, properties.name, 10 * properties.major + properties.minor,
                     static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return found;
}

std::span<const Kernel> kernels() {
  static const std::vector<Kernel> rows = [] {
    std::vector<Kernel> all;
    for (const ScanKernel* k : kScanKernels) all.push_back({k->name, k->description});
    return all;
  }();
  return rows;
}

std::string missing(const std::string& name, const Device& device) {
  const auto kernel = std::find_if(kScanKernels.begin(), kScanKernels.end(),
                                   [&](const ScanKernel* k) { return k->name == name; });
  if (kernel == kScanKernels.end()) return "there is no kernel of that name";
  return missing(**kernel, device);
}

std::string missing(const ScanKernel& k, const Device& device) {
  if (const std::string why = forbidden(k.name); !why.empty()) return why;
  const bool old = device.capability < k.least_capability;
  if (!old && (k.most_capability == 0 || device.capability <= k.most_capability)) {
    if (k.built) return "";
    return std::string("this build has no code for ") + capability(k.least_capability) +
           "a, which " + k.name + " needs (GTN_CUDA_CAPABILITIES)";
  }
  const std::string needs =
      k.most_capability == k.least_capability
          ? "compute capability " + capability(k.least_capability)
          : "compute capability " + capability(k.least_capability) + " or later";
  return "cuda:" + std::to_string(device.index) + " (" + device.name + ") has compute capability " +
         capability(device.capability) + ", and " + k.name + " needs " + needs;
}

const ScanKernel& scan_kernel(const Options& options) {
  const std::vector<Device> all = devices();
  const auto index = static_cast<size_t>(options.device);
  if (options.device < 0 || index >= all.size()) {
    throw std::invalid_argument("device must be one of the " + std::to_string(all.size()) +
                                " CUDA devices here, got cuda:" + std::to_string(options.device));
  }
  std::string why = options.kernel.empty() ? "" : missing(options.kernel, all[index]);
  for (const ScanKernel* k : kScanKernels) {
    if (!options.kernel.empty() && options.kernel != k->name) continue;
    why = missing(k->name, all[index]);
    if (why.empty()) return *k;
  }
  const std::string asked = options.kernel.empty() ? "" : ":" + options.kernel;
  throw std::invalid_argument("backend 'cuda" + asked + "' cannot run: " + why);
}

}  // namespace gtn::cuda
