#include "cuda/kernel_trust.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "cuda/backend_cuda.hpp"
#include "cuda/codes.hpp"
#include "cuda/kernel_names.hpp"
#include "cuda/scan_check.hpp"

namespace gtn::cuda {
namespace {

constexpr const char* kForbid = "GTN_CUDA_FORBID_KERNELS";
// Wider rows take more turns of the same loop.
constexpr int64_t kWidestTested = 1024;
constexpr int32_t kSources = 70;  // more than a warp has
constexpr int32_t kSuperpanels = 3;
constexpr int32_t kMostTiles = 2;

using Place = std::pair<int, std::string>;  // a device and a kernel

struct Verdicts {
  std::mutex lock;
  std::map<Place, std::string> faults;
  std::set<std::pair<Place, int64_t>> passed;  // with the bytes of a row
};
Verdicts& verdicts() {
  static Verdicts all;
  return all;
}

}  // namespace

std::string fault_of(const ScanKernel& kernel, int device, int64_t dim, int multiprocessors,
                     cudaStream_t stream) {
  const Place place{device, kernel.name};
  const int64_t stride = std::min(CodeBounds::stride_for(dim), kWidestTested);
  {
    const std::lock_guard lock(verdicts().lock);
    const auto fault = verdicts().faults.find(place);
    if (fault != verdicts().faults.end()) return fault->second;
    if (&kernel == &scan_dp4a || verdicts().passed.contains({place, stride})) return "";
  }
  const int32_t tiles = std::min(CodeBounds::slots_for(dim).tiles, kMostTiles);
  const int64_t latents = int64_t{kSuperpanels} * Slots{tiles}.superpanel_slots();
  ScanCheck found;
  try {
    found = check_scan(
        kernel, {static_cast<int32_t>(stride), latents, kSources, tiles, CodeBounds::names(stride)},
        multiprocessors, stream);
  } catch (const OutOfMemory&) {
    return "";  // not tested this time; the run needs its memory more, and its searches verify too
  }
  if (found.wrong > 0) {
    distrust(kernel.name, device,
             "its self-test differs from dp4a in " + std::to_string(found.wrong) + " of " +
                 std::to_string(found.bounds) + " bounds");
  }
  if (found.wrong == 0) {
    const std::lock_guard lock(verdicts().lock);
    verdicts().passed.insert({place, stride});
  }
  return recorded_fault(kernel.name, device);
}

const ScanKernel& trusted(const ScanKernel& kernel, const Options& options, int64_t dim,
                          int multiprocessors, cudaStream_t stream, std::string& fault) {
  const std::string found = fault_of(kernel, options.device, dim, multiprocessors, stream);
  if (found.empty()) return kernel;
  if (const std::string why = forbidden(scan_dp4a.name); !why.empty()) {
    throw WrongKernel(std::string("the scan kernel ") + kernel.name + " is wrong here (" + found +
                      "), and dp4a cannot take its place: " + why);
  }
  fault = std::string(kernel.name) + ": " + found;
  if (options.warn) {
    options.warn("the scan kernel " + std::string(kernel.name) +
                 " is wrong on cuda:" + std::to_string(options.device) + " (" + found +
                 "): dp4a takes its place, which is slower. Please report this device");
  }
  return scan_dp4a;
}

void distrust(const std::string& kernel, int device, const std::string& fault) {
  const std::lock_guard lock(verdicts().lock);
  verdicts().faults.try_emplace({device, kernel}, fault);
}

std::string recorded_fault(const std::string& kernel, int device) {
  const std::lock_guard lock(verdicts().lock);
  const auto fault = verdicts().faults.find({device, kernel});
  return fault == verdicts().faults.end() ? "" : fault->second;
}

void forget_verdicts() {
  const std::lock_guard lock(verdicts().lock);
  verdicts().faults.clear();
  verdicts().passed.clear();
}

std::string forbidden(const std::string& kernel) {
  const char* value = std::getenv(kForbid);  // NOLINT(concurrency-mt-unsafe)
  const std::string text = value == nullptr ? "" : value;
  std::string reason;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    begin = end + 1;
    const bool known = std::any_of(kKernelNames.begin(), kKernelNames.end(),
                                   [&](const KernelName& k) { return name == k.name; });
    // A misspelt name must not pass for a kernel that is forbidden.
    if (!known && !name.empty())
      return std::string("the environment variable ") + kForbid + " names '" + name +
             "', which is no kernel";
    if (name == kernel) reason = std::string("the environment variable ") + kForbid + " forbids it";
  }
  return reason;
}

}  // namespace gtn::cuda
