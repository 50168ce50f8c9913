// Decides which scan kernels a process may use on a device. A kernel passes a self-test against
// dp4a before its first scan of rows of a width. A kernel that was found wrong, there or by a
// search, is not used on that device again, and dp4a takes its place. The search of optimal
// transport has kernels of its own (priced_cuda.hpp), whose faults are recorded here too.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/scan.hpp"

namespace gtn::cuda {

// Returns what was wrong with a kernel on a device; empty if nothing is known against it. Runs the
// self-test on the current device unless it has passed for rows of this width: about a millisecond.
// Throws Error.
std::string fault_of(const ScanKernel& kernel, int device, int64_t dim, int multiprocessors,
                     cudaStream_t stream);

// Returns the kernel, or dp4a if that takes the place of a kernel that is known to be wrong here:
// the caller of the options is warned then, and `fault` says what was wrong. Throws WrongKernel if
// dp4a is forbidden.
struct Options;
const ScanKernel& trusted(const ScanKernel& kernel, const Options& options, int64_t dim,
                          int multiprocessors, cudaStream_t stream, std::string& fault);

// Records what was wrong with a kernel on a device.
void distrust(const std::string& kernel, int device, const std::string& fault);

// Returns what was recorded against a kernel on a device; empty if nothing was.
std::string recorded_fault(const std::string& kernel, int device);

// Forgets all verdicts. For tests.
void forget_verdicts();

// Says that the environment variable GTN_CUDA_FORBID_KERNELS forbids a kernel, or that it names
// none; empty if the kernel may be used.
std::string forbidden(const std::string& kernel);

}  // namespace gtn::cuda
