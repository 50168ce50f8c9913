// Arrays on the emulated device, and launches, for the tests of the cuda backend.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/simt.hpp"

namespace emulation {

// A setting of the emulator for as long as it lives.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

// An array on the device.
template <class T>
class Array {
 public:
  explicit Array(const std::vector<T>& values) : size_(values.size()) {
    REQUIRE(cudaMalloc(&data_, size_ * sizeof(T)) == cudaSuccess);
    REQUIRE(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) ==
            cudaSuccess);
  }
  explicit Array(size_t size) : Array(std::vector<T>(size)) {}
  ~Array() {
    cudaDeviceSynchronize();  // an exception may have left work behind
    cudaFree(data_);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  std::vector<T> get() const {
    std::vector<T> values(size_);
    REQUIRE(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost) ==
            cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

// Launches and waits.
template <class... Parameters, class... Arguments>
void run(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared,
         Arguments... arguments) {
  gtn::cuda::launch(kernel, blocks, threads, shared, nullptr, arguments...);
  gtn::cuda::check(cudaDeviceSynchronize(), "waiting");
}

}  // namespace emulation
