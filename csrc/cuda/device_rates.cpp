#include "cuda/device_rates.hpp"

#include <algorithm>
#include <stdexcept>

#include "cuda/codes.hpp"
#include "cuda/on_device.hpp"
#include "cuda/scan_kernels.hpp"
#include "cuda/scan_rate.hpp"

namespace gtn::cuda {

DeviceRates device_rates(int device, int64_t copied, double seconds) {
  const OnDevice there(device);
  return {int8_matrix_rate(seconds), fp16_matrix_rate(seconds), copy_rate(copied, seconds)};
}

KernelRate kernel_rate(int device, const std::string& kernel, int64_t dim, int64_t latents,
                       int64_t sources, double seconds) {
  const auto named = std::find_if(kScanKernels.begin(), kScanKernels.end(),
                                  [&](const ScanKernel* k) { return k->name == kernel; });
  if (named == kScanKernels.end()) {
    throw std::invalid_argument("kernel must be one of cuda_kernels(), got " + kernel);
  }
  const OnDevice there(device);
  const ScanShape shape{static_cast<int32_t>(dim), latents, static_cast<int32_t>(sources),
                        CodeBounds::slots_for(dim).tiles};
  const ScanRate rate = scan_rate(**named, shape, seconds);
  return {rate.operations, rate.bytes};
}

}  // namespace gtn::cuda
