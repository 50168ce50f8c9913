// CurrentDevice: makes a device the calling thread's current one while the object lives. Whoever
// calls us, such as torch, has one of their own, and finds it as it was.
#pragma once

#include <cuda_runtime.h>

#include "cuda/simt.hpp"

namespace gtn::cuda {

class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) check(cudaSetDevice(device), "choosing a device");
    changed_ = device != before_;
  }
  ~CurrentDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace gtn::cuda
