// Stands in for CUB: the device-wide algorithms that the backend uses, with CUB's signatures, for
// plain pointers. Called once for the bytes of scratch memory, once more to run; the scratch is
// overwritten, as CUB's is.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <concepts>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace gtn::emulated {

// The protocol of scratch memory around work that a stream is given.
template <class Work>
cudaError_t with_scratch(void* scratch, size_t& bytes, int64_t count, cudaStream_t stream,
                         Work work) {
  const size_t needed = static_cast<size_t>(count) + 256;
  if (scratch == nullptr) {
    bytes = needed;
    return cudaSuccess;
  }
  if (bytes < needed) return cudaErrorInvalidValue;
  // CUB takes an error that nobody has cleared for one of its own launches.
  if (const cudaError_t stale = cudaPeekAtLastError()) return stale;
  return submit("cub", stream, [=] {
    std::memset(scratch, 0x5a, needed);
    work();
  });
}

}  // namespace gtn::emulated

namespace cub {

struct DeviceRadixSort {
  template <std::unsigned_integral Key, class Value, std::integral Count>
  static cudaError_t SortPairs(void* scratch, size_t& bytes, const Key* keys_in, Key* keys_out,
                               const Value* values_in, Value* values_out, Count count,
                               int begin_bit = 0, int end_bit = sizeof(Key) * 8,
                               cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      std::vector<std::pair<Key, Value>> pairs(count);
      for (Count i = 0; i < count; ++i) pairs[i] = {keys_in[i], values_in[i]};
      std::stable_sort(pairs.begin(), pairs.end(), [=](const auto& a, const auto& b) {
        return digits(a.first, begin_bit, end_bit) < digits(b.first, begin_bit, end_bit);
      });
      for (Count i = 0; i < count; ++i) {
        keys_out[i] = pairs[i].first;
        values_out[i] = pairs[i].second;
      }
    });
  }

  template <std::unsigned_integral Key, std::integral Count>
  static cudaError_t SortKeys(void* scratch, size_t& bytes, const Key* keys_in, Key* keys_out,
                              Count count, int begin_bit = 0, int end_bit = sizeof(Key) * 8,
                              cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      std::vector<Key> keys(keys_in, keys_in + count);
      std::stable_sort(keys.begin(), keys.end(), [=](Key a, Key b) {
        return digits(a, begin_bit, end_bit) < digits(b, begin_bit, end_bit);
      });
      std::copy(keys.begin(), keys.end(), keys_out);
    });
  }

 private:
  template <class Key>
  static Key digits(Key key, int begin_bit, int end_bit) {
    constexpr int kBits = sizeof(Key) * 8;
    const Key kept = end_bit < kBits ? key & ((Key{1} << end_bit) - 1) : key;
    return begin_bit < kBits ? kept >> begin_bit : Key{0};
  }
};

struct DeviceSelect {
  template <class Value, class Flag, class Selected, std::integral Count>
  static cudaError_t Flagged(void* scratch, size_t& bytes, const Value* in, const Flag* flags,
                             Value* out, Selected* selected, Count count,
                             cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      Selected kept = 0;
      for (Count i = 0; i < count; ++i) {
        if (flags[i]) out[kept++] = in[i];
      }
      *selected = kept;
    });
  }
};

struct DeviceScan {
  template <class Value, class Sum, std::integral Count>
  static cudaError_t ExclusiveSum(void* scratch, size_t& bytes, const Value* in, Sum* out,
                                  Count count, cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      Value sum{};
      for (Count i = 0; i < count; ++i) {
        const Value next = in[i];  // out may be in
        out[i] = static_cast<Sum>(sum);
        sum = static_cast<Value>(sum + next);
      }
    });
  }
};

struct DeviceReduce {
  template <class Value, class Result, std::integral Count>
  static cudaError_t Max(void* scratch, size_t& bytes, const Value* in, Result* out, Count count,
                         cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      Value most = std::numeric_limits<Value>::lowest();
      for (Count i = 0; i < count; ++i) most = std::max(most, in[i]);
      *out = static_cast<Result>(most);
    });
  }

  // Integers only: CUB adds floats in an order of its own.
  template <std::integral Value, class Result, std::integral Count>
  static cudaError_t Sum(void* scratch, size_t& bytes, const Value* in, Result* out, Count count,
                         cudaStream_t stream = nullptr) {
    return gtn::emulated::with_scratch(scratch, bytes, count, stream, [=] {
      Result sum{};
      for (Count i = 0; i < count; ++i) sum = static_cast<Result>(sum + in[i]);
      *out = sum;
    });
  }
};

}  // namespace cub
