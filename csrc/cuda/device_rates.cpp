#include "cuda/device_rates.hpp"

#include <algorithm>
#include <stdexcept>

#include "cuda/backend_cuda.hpp"
#include "cuda/codes.hpp"
#include "cuda/on_device.hpp"
#include "cuda/scan_check.hpp"
#include "cuda/scan_kernels.hpp"
#include "cuda/scan_rate.hpp"

namespace gtn::cuda {
namespace {

const ScanKernel& kernel_named(const std::string& name) {
  const auto named = std::find_if(kScanKernels.begin(), kScanKernels.end(),
                                  [&](const ScanKernel* k) { return k->name == name; });
  if (named == kScanKernels.end()) {
    throw std::invalid_argument("kernel must be one of cuda_kernels(), got " + name);
  }
  return **named;
}

}  // namespace

DeviceRates device_rates(int device, int64_t copied, double seconds) {
  const OnDevice there(device);
  return {int8_matrix_rate(seconds), fp16_matrix_rate(seconds), copy_rate(copied, seconds)};
}

KernelRate kernel_rate(int device, const std::string& kernel, int64_t dim, int64_t latents,
                       int64_t sources, double seconds) {
  const ScanKernel& named = kernel_named(kernel);
  const OnDevice there(device);
  const ScanShape shape{static_cast<int32_t>(dim), latents, static_cast<int32_t>(sources),
                        CodeBounds::slots_for(dim).tiles, CodeBounds::names(dim)};
  const ScanRate rate = scan_rate(named, shape, seconds);
  return {rate.operations, rate.bytes};
}

KernelCheck kernel_check(int device, const std::string& kernel, int64_t dim, int64_t latents,
                         int64_t sources, uint32_t seed) {
  const ScanKernel& named = kernel_named(kernel);
  const std::vector<Device> all = devices();
  if (device < 0 || static_cast<size_t>(device) >= all.size()) {
    throw std::invalid_argument("device must be one of the " + std::to_string(all.size()) +
                                " CUDA devices here, got " + std::to_string(device));
  }
  // What a device cannot run, a check must not find right: such a kernel would write nothing.
  if (const std::string why = missing(kernel, all[static_cast<size_t>(device)]); !why.empty()) {
    throw std::invalid_argument("kernel '" + kernel + "' cannot run: " + why);
  }
  const OnDevice there(device);
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for multiprocessors");
  const ScanCheckShape shape{static_cast<int32_t>(dim),     latents,
                             static_cast<int32_t>(sources), CodeBounds::slots_for(dim).tiles,
                             CodeBounds::names(dim),        seed};
  const ScanCheck found = check_scan(named, shape, multiprocessors, nullptr);
  return {found.bounds, found.wrong, found.source, found.group, found.found, found.expected};
}

}  // namespace gtn::cuda
