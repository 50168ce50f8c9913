// The few forms of CUDA that kernels and their callers use, and that the emulator of the tests
// (tests/cpp/cuda_emulator) has too: launches, dynamic shared memory, errors as exceptions.
// Kernels use threadIdx, blockIdx, blockDim, gridDim, __shared__, __syncthreads, warp shuffles and
// votes, atomics and __dp4a as they are; other instructions go through instructions.hpp.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace gtn::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// A CUDA call failed. what() says which, and CUDA's own words.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or others would find it again
  throw Error(std::string("CUDA: ") + what + ": " + cudaGetErrorName(status) + ", " +
              cudaGetErrorString(status));
}

// Defined if device code is compiled: by nvcc, or by the tests over their emulator.
#if defined(__CUDACC__) || defined(GTN_CUDA_EMULATED)
#define GTN_DEVICE_CODE
#endif

// The block's dynamic shared memory.
#if defined(GTN_CUDA_EMULATED)
inline unsigned char* dynamic_shared() {
  return emulated::dynamic_shared();
}
#elif defined(__CUDACC__)
__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char gtn_dynamic_shared[];
  return gtn_dynamic_shared;
}
#endif

// kernel<<<blocks, threads, shared, stream>>>(args...), checked. More shared memory than 48 KB must
// have been allowed by allow_shared().
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared,
            cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...),
        "launching a kernel");
}

// Returns the bytes of shared memory that a block may have on the current device.
inline int shared_limit() {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "asking for the shared memory of a block");
  return bytes;
}

// Allows a kernel all the dynamic shared memory that a block may have on the current device. The
// limit belongs to the function: one that depended on a launch's own need could fall below that of
// another thread's launch.
template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel), "asking for a kernel's shared memory");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared_limit() - static_cast<int>(attributes.sharedSizeBytes)),
        "asking for shared memory");
}

}  // namespace gtn::cuda
