// What a scan keeps of the sums of a group: the largest, or of a group with names the two largest
// and which member has the first of them.
//
// A key is a sum whose five lowest bits are replaced by the number of its member. All keys of a
// group differ, and the sum of a member is at most its key with those bits set. So the first key
// names a member, and the second bounds all others, dead members and padding included.
#pragma once

#include "cuda/instructions.hpp"
#include "cuda/scan.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {

#ifdef GTN_DEVICE_CODE

constexpr int32_t kNameBits = kNamedMembers - 1;

__device__ inline int32_t key_of(int32_t sum, int32_t member) {
  return mask_or(sum, ~kNameBits, member);
}
__device__ inline float upper_of_key(int32_t key, float base, const GroupCode& g,
                                     const SourceCode& s) {
  return upper_cosine(key | kNameBits, base, g, s);
}

// A bound of the other members, and the member that is named, in the lowest bits of its float.
__device__ inline int32_t pack_others(float upper, int32_t member) {
  return (__float_as_int(upper) & ~kNameBits) | member;
}
// At or above the bound that was packed: a float grows with the bits of its size.
__device__ inline float upper_of_others(int32_t packed) {
  return __int_as_float(packed < 0 ? packed & ~kNameBits : packed | kNameBits);
}
__device__ inline int32_t name_of_others(int32_t packed) {
  return packed & kNameBits;
}

// Two sums of a tile: of members 2 j and 2 j + 1.
struct SumPair {
  int32_t even, odd;
};

struct LargestSum {
  int32_t sum;

  __device__ void forget() { sum = INT32_MIN; }
  // The members of a tile, pair(j) for 0 <= j < kTileMembers / 2.
  template <class Pair>
  __device__ void take(const Pair& pair, int32_t /*tile*/) {
#pragma unroll
    for (int j = 0; j < kTileMembers / 2; ++j) {
      const SumPair two = pair(j);
      sum = max3(sum, two.even, two.odd);
    }
  }
  __device__ float bound(float base, const GroupCode& g, const SourceCode& s) const {
    return upper_cosine(sum, base, g, s);
  }

  // Where a bound is written.
  struct Place {
    float* upper;

    __device__ Place(const ScanTask& task, int64_t at) : upper(task.upper + at) {}
    __device__ void operator+=(int64_t step) { upper += step; }
    __device__ void write(float bound) const { *upper = bound; }
  };
};

struct NamedBound {
  float upper;
  int32_t others;
};

struct LargestKeys {
  int32_t first, second;

  __device__ void forget() { first = second = INT32_MIN; }
  template <class Pair>
  __device__ void take(const Pair& pair, int32_t tile) {
    LargestKeys here = of_pair(pair(0), 0);
#pragma unroll
    for (int j = 1; j < kTileMembers / 2; ++j) here.merge(of_pair(pair(j), 2 * j));
    const int32_t first_member = tile * kTileMembers;
    merge({here.first | first_member, here.second | first_member});
  }
  __device__ void merge(const LargestKeys& other) {
    second = max3(second, other.second, min(first, other.first));
    first = max(first, other.first);
  }
  __device__ NamedBound bound(float base, const GroupCode& g, const SourceCode& s) const {
    return {upper_of_key(first, base, g, s),
            pack_others(upper_of_key(second, base, g, s), first & kNameBits)};
  }

  struct Place {
    float* upper;
    int32_t* others;

    __device__ Place(const ScanTask& task, int64_t at)
        : upper(task.upper + at), others(task.others + at) {}
    __device__ void operator+=(int64_t step) {
      upper += step;
      others += step;
    }
    __device__ void write(const NamedBound& bound) const {
      *upper = bound.upper;
      *others = bound.others;
    }
  };

 private:
  __device__ static LargestKeys of_pair(const SumPair& two, int32_t member) {
    const int32_t even = key_of(two.even, member), odd = key_of(two.odd, member + 1);
    return {max(even, odd), min(even, odd)};
  }
};

#endif

}  // namespace gtn::cuda
