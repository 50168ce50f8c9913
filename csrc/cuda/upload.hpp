// Rows of the host on their way to a device. A copy from pageable memory goes through the driver's
// own small buffers on one thread; several threads that fill two pinned buffers in turn keep the
// bus busy.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/parallel.hpp"

namespace gtn::cuda {

struct UploadShape {
  int64_t least = int64_t{128} << 20;  // bytes: fewer are copied before buffers would be pinned
  int64_t buffer = int64_t{8} << 20;   // bytes of one of the two
  int threads = 8;                     // at most, and at most one a core
};

// Copies to the device on the stream. May return before the device has all of it, but no more reads
// `from`, which is pageable. `calling` polls. Throws Error.
void upload(void* to, const void* from, int64_t bytes, Parallel& calling, cudaStream_t stream,
            const UploadShape& shape = {});

// The same within the host, to memory that a device reads through the bus.
void copy_on_host(void* to, const void* from, int64_t bytes, Parallel& calling,
                  const UploadShape& shape = {});

}  // namespace gtn::cuda
