// Sorting and compacting on the device: the only file that knows CUB. Both are stable.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/device_memory.hpp"

namespace gtn::cuda {

// Keys and values that are sorted, with the room that takes. keys() and values() are filled by the
// caller, sorted by sort(), and then hold the result.
class Sorter {
 public:
  Sorter(Budget& budget, int64_t most);

  uint64_t* keys() const { return keys_.data(); }
  int32_t* values() const { return values_.data(); }
  // Sorts the first `count` pairs by the lowest `bits` bits of their keys, ascending.
  void sort(int64_t count, int bits, cudaStream_t stream);
  // Keeps the values whose flag is set, in order: values()[0 .. their number).
  void keep(int64_t count, const uint8_t* flags, cudaStream_t stream);

  // Bytes that a sorter of `most` pairs takes.
  static int64_t bytes_for(int64_t most);

 private:
  DeviceArray<uint64_t> keys_, other_keys_;
  DeviceArray<int32_t> values_, other_values_;
  DeviceArray<int32_t> kept_;
  DeviceArray<unsigned char> scratch_;
};

}  // namespace gtn::cuda
