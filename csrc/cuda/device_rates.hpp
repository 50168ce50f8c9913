// The rates of scan_rate.hpp and the check of scan_check.hpp as the bindings ask for them: by names
// and numbers, without CUDA's headers.
#pragma once

#include <cstdint>
#include <string>

namespace gtn::cuda {

// A second; a multiply-add is two operations, what is copied counts as read and as written.
struct DeviceRates {
  double int8_operations;
  double fp16_operations;
  double copied_bytes;
};
struct KernelRate {
  double operations;
  double bytes;
};

// Copies `copied` bytes; measures each rate in about `seconds`.
DeviceRates device_rates(int device, int64_t copied, double seconds);

// A kernel alone, laid out as the backend does it for this dim. Throws std::invalid_argument for a
// name that no kernel has.
KernelRate kernel_rate(int device, const std::string& kernel, int64_t dim, int64_t latents,
                       int64_t sources, double seconds);

// As ScanCheck.
struct KernelCheck {
  int64_t bounds, wrong;
  int32_t source, group;
  float found, expected;
};
// Throws std::invalid_argument for a name that no kernel has, or one that cannot run on the device.
KernelCheck kernel_check(int device, const std::string& kernel, int64_t dim, int64_t latents,
                         int64_t sources, uint32_t seed);

}  // namespace gtn::cuda
