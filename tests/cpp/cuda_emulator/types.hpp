// The emulator's qualifiers, vector types and error codes: what a .cu file needs to be read as C++.
// Part of the emulated <cuda_runtime.h>; numbers and names are CUDA's.
#pragma once

#include <cstddef>
#include <cstdint>

#define GTN_CUDA_EMULATED

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
// One grid runs at a time in the process and one block of it at a time, so that what the threads of
// a block share may be static; sanitizers then guard its bounds.
#define __shared__ static

#define GTN_VECTOR2(name, type, bytes)      \
  struct __align__(bytes) name {            \
    type x, y;                              \
  };                                        \
  inline name make_##name(type x, type y) { \
    return {x, y};                          \
  }
#define GTN_VECTOR4(name, type, bytes)                      \
  struct __align__(bytes) name {                            \
    type x, y, z, w;                                        \
  };                                                        \
  inline name make_##name(type x, type y, type z, type w) { \
    return {x, y, z, w};                                    \
  }
GTN_VECTOR2(char2, signed char, 2)
GTN_VECTOR2(short2, short, 4)
GTN_VECTOR2(int2, int, 8)
GTN_VECTOR2(uint2, unsigned, 8)
GTN_VECTOR2(float2, float, 8)
GTN_VECTOR2(longlong2, long long, 16)
GTN_VECTOR2(ulonglong2, unsigned long long, 16)
GTN_VECTOR2(double2, double, 16)
GTN_VECTOR4(char4, signed char, 4)
GTN_VECTOR4(uchar4, unsigned char, 4)
GTN_VECTOR4(short4, short, 8)
GTN_VECTOR4(int4, int, 16)
GTN_VECTOR4(uint4, unsigned, 16)
GTN_VECTOR4(float4, float, 16)
#undef GTN_VECTOR2
#undef GTN_VECTOR4

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) noexcept
      : x(x_), y(y_), z(z_) {}
};

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInitializationError = 3,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidMemcpyDirection = 21,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
  cudaErrorUnknown = 999,
};
using cudaError = cudaError_t;
