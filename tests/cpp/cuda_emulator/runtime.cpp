// Devices, their properties, errors. Memory is memory.cpp's, streams are streams.cpp's.
#include "runtime.hpp"

#include <cstdio>
#include <mutex>

#include "device.hpp"

namespace gtn::emulated {

namespace {

constexpr int kVersion = 12040;  // of the runtime and the driver, written as CUDA does
thread_local cudaError_t last_error = cudaSuccess;
thread_local int device = 0;

}  // namespace

std::recursive_mutex& runtime_lock() {
  static std::recursive_mutex lock;
  return lock;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

int current_device() {
  return device;
}

}  // namespace gtn::emulated

using namespace gtn::emulated;  // NOLINT: what follows is that namespace's C face

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  return last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  return describe(error).name;
}

const char* cudaGetErrorString(cudaError_t error) {
  return describe(error).text;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const std::lock_guard lock(runtime_lock());
  *version = kVersion;
  return remember(injected_failure(__func__));
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  const std::lock_guard lock(runtime_lock());
  *version = kVersion;
  return remember(injected_failure(__func__));
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return call(__func__, [&] {
    *count = device_count();
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device_out) {
  return call(__func__, [&] {
    *device_out = device;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int wanted) {
  return call(__func__, [&] {
    if (wanted < 0 || wanted >= device_count()) return cudaErrorInvalidDevice;
    device = wanted;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  return call(__func__, [&] {
    if (index < 0 || index >= device_count()) return cudaErrorInvalidDevice;
    const int version = capability();
    cudaDeviceProp& p = *properties = {};
    std::snprintf(p.name, sizeof p.name, "emulated device %d", index);
    p.totalGlobalMem = device_memory();
    p.sharedMemPerBlock = 48 << 10;
    // A KB of a multiprocessor's shared memory is the system's.
    p.sharedMemPerMultiprocessor = (version >= 90   ? version >= 120 ? 100 : 228
                                    : version == 80 ? 164
                                    : version == 87 ? 164
                                    : version >= 86 ? 100
                                                    : 65)
                                   << 10;
    p.sharedMemPerBlockOptin = p.sharedMemPerMultiprocessor - (1 << 10);
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiProcessor = 2048;
    p.major = version / 10;
    p.minor = version % 10;
    p.multiProcessorCount = 3;
    p.l2CacheSize = 4 << 20;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  return call(__func__, [&] {
    cudaDeviceProp p;
    if (const cudaError_t error = cudaGetDeviceProperties(&p, index)) return error;
    switch (attribute) {
      case cudaDevAttrMaxThreadsPerBlock:
        *value = p.maxThreadsPerBlock;
        break;
      case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = static_cast<int>(p.sharedMemPerBlock);
        break;
      case cudaDevAttrWarpSize:
        *value = p.warpSize;
        break;
      case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
      case cudaDevAttrL2CacheSize:
        *value = p.l2CacheSize;
        break;
      case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = p.maxThreadsPerMultiProcessor;
        break;
      case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
      case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
      case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(p.sharedMemPerBlockOptin);
        break;
      case cudaDevAttrMemoryPoolsSupported:
        *value = 1;
        break;
      default:
        return cudaErrorInvalidValue;
    }
    return cudaSuccess;
  });
}
