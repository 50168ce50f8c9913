// The other half of scan_mma.cu: rows of any width, made for those of more than 256 codes, and
// groups with names.
#pragma once

#include "cuda/scan.hpp"

namespace gtn::cuda {

// As ScanKernel::scan; limit: bytes of shared memory that a block may have.
void scan_mma_wide(const ScanTask& task, int32_t limit, int multiprocessors, cudaStream_t stream);

}  // namespace gtn::cuda
