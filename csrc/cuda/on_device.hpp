// OnDevice: the calling thread computes on a device while the object lives. Whoever called us, such
// as torch, then finds its own current device as it was.
#pragma once

#include <cuda_runtime.h>

#include <new>

#include "cuda/simt.hpp"

namespace gtn::cuda {

class OnDevice {
 public:
  explicit OnDevice(int device) { check(enter(device), "choosing a device"); }
  // For destructors: if the device is lost, so is what was to be given back there.
  OnDevice(int device, std::nothrow_t) { enter(device); }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  cudaError_t enter(int device) {
    cudaError_t status = cudaGetDevice(&before_);
    if (status != cudaSuccess || device == before_) return status;
    status = cudaSetDevice(device);
    changed_ = status == cudaSuccess;
    return status;
  }

  int before_ = 0;
  bool changed_ = false;
};

}  // namespace gtn::cuda
