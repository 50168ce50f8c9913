// OnDevice: the calling thread computes on a device while the object lives. Whoever called us, such
// as torch, then finds its own current device as it was.
#pragma once

#include <cuda_runtime.h>

#include "cuda/simt.hpp"

namespace gtn::cuda {

class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) check(cudaSetDevice(device), "choosing a device");
    changed_ = device != before_;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace gtn::cuda
