// The cuda backend as the bindings see it: which devices there are, and a whole matching on one of
// them. Raw pointers and a stream in; assignment and cosine out, on the host. Linked only where
// GTN_CUDA built it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/match.hpp"
#include "core/optimal.hpp"
#include "core/shard.hpp"

namespace gtn::cuda {

struct Device {
  int index;
  std::string name;
  int capability;  // 10 * major + minor
  int64_t memory;  // bytes
};

// Says why no device can be used here; empty if one can. Never throws, and makes no context.
std::string missing();
// All devices, usable or not. Empty if missing().
std::vector<Device> devices();

// A way to scan, by name.
struct Kernel {
  std::string name;
  std::string description;
};
std::span<const Kernel> kernels();
// Says why a kernel cannot run on a device, GTN_CUDA_FORBID_KERNELS included; empty if it can.
std::string missing(const std::string& kernel, const Device& device);
struct ScanKernel;
std::string missing(const ScanKernel& kernel, const Device& device);

struct Options {
  int device = 0;
  void* stream = nullptr;  // cudaStream_t that the inputs are ready on; null: one of its own
  std::string kernel;      // by name; empty: the best one. dp4a takes the place of a wrong one
  int64_t memory = 0;      // bytes of device memory to take at most; 0: what is free
  bool latents_on_device = false;  // where input.latents.data lies
  bool sources_on_device = false;
  // Frees memory of the device that others in this process keep and do not use; false: there was
  // none. Called before rows or codes are left on the host for want of memory.
  std::function<bool()> free_cached = {};
  // Takes a sentence for the caller to read: a run that will be slow, a kernel that is replaced.
  std::function<void(const std::string&)> warn = {};
};

// As gtn::match_rows, on a device. Throws std::invalid_argument for undefined input and options,
// OutOfMemory, WrongKernel, and cuda::Error where CUDA fails. Stats::instruction_set is the
// kernel's name; Stats::distinct is not counted (-1), as equal latents are not collapsed.
class OutOfMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// A scan kernel gave bounds that its codes do not give, and the matching so far is worth nothing.
// Unless that was dp4a, the kernel is not used on this device again: the same call then has dp4a
// scan instead.
class WrongKernel : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
struct DeviceStats : Stats {
  double scan_products = 0;     // integer multiply-adds that scans did
  bool latents_mapped = false;  // rows, or codes, stayed in pinned memory of the host
  bool sources_mapped = false;
  bool codes_mapped = false;
  bool cache_freed = false;  // Options::free_cached was called, and freed memory
  std::string kernel_fault;  // of the kernel that dp4a took the place of; empty: it ran itself
};
DeviceStats match_rows(const MatchInput& input, const Options& options, const MatchOutput& output,
                       int64_t& done, Poll poll);

// A shard (core/shard.hpp) whose latents are copied to a device. Rows lie on the host. Lists have
// at most 256 keys. The thread that makes a shard searches with it.
std::unique_ptr<Shard> make_shard(const Rows& latents, std::span<const int64_t> index, Order order,
                                  const Rows& sources, const Options& options, Parallel& parallel,
                                  Stats& stats);

// Searches of optimal transport on a device: `memory` is for one search at a time, and rows lie on
// the host. A search throws as match_rows does. `stats` outlives the backend.
struct PricedDeviceStats {
  double products = 0;       // multiply-adds that scans did
  double scores = 0;         // exact scores of listed latents
  int64_t device_bytes = 0;  // most that a search took
  bool cache_freed = false;  // as DeviceStats::cache_freed
  std::string kernel_fault;  // of the kernel that a plain one took the place of
};
PricedBackend priced_backend(const Options& options, PricedDeviceStats& stats);

}  // namespace gtn::cuda
