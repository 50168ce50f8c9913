// Memory of a device, and pinned memory of the host, owned by objects and counted against a budget.
// A run reserves all of its device memory at once, as many groups would allocate it over and over.
// Not here: how much is needed (plan.hpp).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "cuda/simt.hpp"

namespace gtn::cuda {

// Counts what is allocated. One a run.
class Budget {
 public:
  // memory: bytes that may be taken, 0 for no limit but the device's. stream: whose work uses what
  // is taken, and is waited for before anything is freed, as cudaFree need not.
  Budget(int device, int64_t memory, cudaStream_t stream)
      : device_(device), memory_(memory), stream_(stream) {}
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Allocates so much now, from which take() then carves. Where that fails, every array has an
  // allocation of its own, as it has if GTN_CUDA_ARENA is 0: tools that look for accesses out of
  // bounds then see the bounds.
  void reserve(int64_t bytes);
  // Throws OutOfMemory.
  void* take(int64_t bytes, const char* what);
  // The stream's later work may have the memory, others only what was an allocation of its own.
  void give_back(void* pointer, int64_t bytes);
  int64_t taken() const { return taken_; }
  int64_t most_taken() const { return most_taken_; }

 private:
  void* carve(int64_t bytes);  // null: no gap is large enough
  bool give_back_gap(void* pointer, int64_t bytes);

  int device_;
  int64_t memory_;
  cudaStream_t stream_;
  unsigned char* reserved_ = nullptr;
  int64_t reserved_bytes_ = 0;
  std::map<int64_t, int64_t> gaps_;  // of what is reserved: bytes by offset
  int64_t taken_ = 0;
  int64_t most_taken_ = 0;
};

// An array on the device, of indeterminate values.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(Budget& budget, int64_t count, const char* what)
      : budget_(&budget), count_(count), data_(static_cast<T*>(budget.take(bytes(), what))) {}
  DeviceArray(DeviceArray&& o) noexcept { swap(o); }
  DeviceArray& operator=(DeviceArray&& o) noexcept {
    DeviceArray gone(std::move(o));
    swap(gone);
    return *this;
  }
  ~DeviceArray() {
    if (data_) budget_->give_back(data_, bytes());
  }

  T* data() const { return data_; }
  int64_t size() const { return count_; }
  void swap(DeviceArray& o) noexcept {
    std::swap(budget_, o.budget_);
    std::swap(count_, o.count_);
    std::swap(data_, o.data_);
  }

 private:
  int64_t bytes() const { return std::max<int64_t>(count_, 1) * static_cast<int64_t>(sizeof(T)); }

  Budget* budget_ = nullptr;
  int64_t count_ = 0;
  T* data_ = nullptr;
};

void* pin(int64_t bytes, const char* what);  // memory of the host; throws OutOfMemory

// An array in pinned memory of the host, which work of one stream reads and writes through the
// device's bus.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  PinnedArray(int64_t count, const char* what, cudaStream_t stream)
      : stream_(stream),
        data_(static_cast<T*>(
            pin(std::max<int64_t>(count, 1) * static_cast<int64_t>(sizeof(T)), what))) {}
  PinnedArray(PinnedArray&& o) noexcept { swap(o); }
  PinnedArray& operator=(PinnedArray&& o) noexcept {
    PinnedArray gone(std::move(o));
    swap(gone);
    return *this;
  }
  ~PinnedArray() {
    if (!data_) return;
    // An exception may have left work on the stream, and cudaFreeHost need not wait for it.
    cudaStreamSynchronize(stream_);
    cudaFreeHost(data_);
  }

  T* data() const { return data_; }
  T* on_device() const {
    void* pointer = nullptr;
    check(cudaHostGetDevicePointer(&pointer, data_, 0), "mapping pinned memory");
    return static_cast<T*>(pointer);
  }
  void swap(PinnedArray& o) noexcept {
    std::swap(stream_, o.stream_);
    std::swap(data_, o.data_);
  }

 private:
  cudaStream_t stream_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace gtn::cuda
