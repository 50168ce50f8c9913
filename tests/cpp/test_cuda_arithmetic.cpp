// The emulator of CUDA: instructions on numbers, against the processor's own rounding modes and
// plain loops, and the device-wide algorithms. Grids and the runtime are test_cuda_emulator.cpp's.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cub/cub.cuh>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "device_array.hpp"

using emulation::Array;

namespace {

// The same operation by the processor's rounding mode.
template <class Operation>
auto rounded(int mode, Operation operation) {
  std::fesetround(mode);
  const volatile auto result = operation();  // not before, not after
  std::fesetround(FE_TONEAREST);
  return static_cast<decltype(operation())>(result);
}

uint32_t bits_of(float value) {
  return __float_as_uint(value);
}

// Floats of every size, subnormal ones and ones near the largest included, now and then special.
float any_float(std::mt19937& random) {
  constexpr float kSpecial[] = {0.0f,
                                -0.0f,
                                1.0f,
                                -1.0f,
                                0x1p-149f,
                                -0x1p-149f,
                                0x1p-126f,
                                std::numeric_limits<float>::max(),
                                -std::numeric_limits<float>::max(),
                                std::numeric_limits<float>::infinity()};
  if (random() % 16 == 0) return kSpecial[random() % std::size(kSpecial)];
  float value = __uint_as_float(static_cast<uint32_t>(random()));
  if (!std::isfinite(value)) value = 1.5f;
  // Half of them of like size, so that sums meet all their bits.
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);
  return random() % 2 ? value : std::ldexp(fraction, static_cast<int>(random() % 40) - 20);
}

bool same(float a, float b) {
  return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

TEST_CASE("directed roundings are the processor's, to the bit") {
  std::mt19937 random(1);
  for (int i = 0; i < 300000; ++i) {
    const volatile float a = any_float(random), b = any_float(random), c = any_float(random);
    const volatile double d = i % 2 ? static_cast<double>(a) * b : a + static_cast<double>(b);
    const volatile int whole = static_cast<int>(random());
    const volatile float positive = std::fabs(a);
    const bool equal =
        same(__fmaf_ru(a, b, c), rounded(FE_UPWARD, [&] { return std::fma(a, b, c); })) &&
        same(__fmul_ru(a, b), rounded(FE_UPWARD, [&] { return a * b; })) &&
        same(__fadd_ru(a, b), rounded(FE_UPWARD, [&] { return a + b; })) &&
        same(__fsqrt_ru(positive), rounded(FE_UPWARD, [&] { return std::sqrt(positive); })) &&
        same(__int2float_ru(whole),
             rounded(FE_UPWARD, [&] { return static_cast<float>(whole); })) &&
        same(__double2float_ru(d), rounded(FE_UPWARD, [&] { return static_cast<float>(d); })) &&
        same(__double2float_rd(d), rounded(FE_DOWNWARD, [&] { return static_cast<float>(d); }));
    if (!equal) FAIL("a ", a, " b ", b, " c ", c, " d ", d, " whole ", whole);
  }
}

TEST_CASE("roundings of a few numbers, by hand") {
  constexpr float kNext = 1 + 0x1p-23f;
  constexpr float kMost = std::numeric_limits<float>::max();
  CHECK(__fadd_ru(1, 0x1p-60f) == kNext);
  CHECK(__fadd_ru(1, -0x1p-60f) == 1);
  CHECK(__fmaf_ru(kNext, kNext, -1) == 0x1p-22f + 0x1p-45f);
  CHECK(__fmaf_ru(0x1p-100f, 0x1p-100f, 1) == kNext);
  CHECK(__fmul_ru(0x1p-100f, 0x1p-100f) == 0x1p-149f);
  CHECK(bits_of(__fmul_ru(-0x1p-100f, 0x1p-100f)) == 0x80000000u);
  CHECK(__fmul_ru(kMost, kMost) == std::numeric_limits<float>::infinity());
  CHECK(__fmul_ru(-kMost, kMost) == -kMost);
  CHECK(__int2float_ru((1 << 24) + 1) == (1 << 24) + 2);
  CHECK(__int2float_ru(-(1 << 24) - 1) == -(1 << 24));
  CHECK(__double2float_rd(1 + 0x1p-40) == 1);
  CHECK(__double2float_rd(-1 - 0x1p-40) == -kNext);
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rn(3e9f) == std::numeric_limits<int>::max());
  CHECK(__double2int_rn(-1e300) == std::numeric_limits<int>::min());
  CHECK(__double2int_rn(std::nan("")) == std::numeric_limits<int>::min());
  CHECK(__float2int_rn(std::nanf("")) == 0);
}

TEST_CASE("instructions on integers") {
  std::mt19937 random(2);
  for (int i = 0; i < 1000; ++i) {
    const auto a = static_cast<uint32_t>(random()), b = static_cast<uint32_t>(random());
    int64_t sum = 1000;
    uint64_t unsigned_sum = 1000;
    for (int k = 0; k < 4; ++k) {
      sum += static_cast<int8_t>(a >> 8 * k & 255) * static_cast<int8_t>(b >> 8 * k & 255);
      unsigned_sum += (a >> 8 * k & 255) * (b >> 8 * k & 255);
    }
    CHECK(__dp4a(static_cast<int>(a), static_cast<int>(b), 1000) == sum);
    CHECK(__dp4a(a, b, 1000u) == unsigned_sum);
    const int x = static_cast<int>(a), y = static_cast<int>(b), z = x ^ y;
    CHECK(__vimax3_s32(x, y, z) == std::max({x, y, z}));
  }
  CHECK(__dp4a(0x01010101, 0x01010101, std::numeric_limits<int>::max()) ==
        std::numeric_limits<int>::min() + 3);
  CHECK(__popc(0xf0f00001u) == 9);
  CHECK(__popcll(0xf0f00001f0000000u) == 13);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__clzll(-1) == 0);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__ffsll(1LL << 40) == 41);
  CHECK(__int_as_float(0x3f800000) == 1);
  CHECK(__double_as_longlong(-0.0) == std::numeric_limits<long long>::min());
  CHECK(max(std::nanf(""), 1.0f) == 1);
  CHECK(min(3, -4) == -4);
}

namespace {

// Calls a CUB algorithm as it asks to be: for the size of its scratch memory, then to run.
template <class Algorithm>
void call_cub(Algorithm algorithm) {
  size_t bytes = 0;
  REQUIRE(algorithm(nullptr, bytes) == cudaSuccess);
  Array<unsigned char> scratch(bytes);
  size_t too_few = bytes - 1;
  CHECK(algorithm(scratch.data(), too_few) == cudaErrorInvalidValue);
  REQUIRE(algorithm(scratch.data(), bytes) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
}

template <class Key>
void check_sort(int begin_bit, int end_bit) {
  constexpr int n = 1000;
  std::mt19937_64 random(3);
  std::vector<Key> keys(n);
  std::vector<int> values(n);
  for (int i = 0; i < n; ++i) {
    keys[i] = static_cast<Key>(random() % 50 * 0x0804020108040201u);
    values[i] = i;
  }
  const Array<Key> in(keys), out(n), alone(n);
  const Array<int> values_in(values), values_out(n);
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(scratch, bytes, in.data(), out.data(), values_in.data(),
                                           values_out.data(), n, begin_bit, end_bit);
  });
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceRadixSort::SortKeys(scratch, bytes, in.data(), alone.data(), n, begin_bit,
                                          end_bit);
  });
  const Key mask = static_cast<Key>(~Key{0} >> (sizeof(Key) * 8 - (end_bit - begin_bit)))
                   << begin_bit;
  std::stable_sort(values.begin(), values.end(),
                   [&](int a, int b) { return (keys[a] & mask) < (keys[b] & mask); });
  std::vector<Key> sorted(n);
  for (int i = 0; i < n; ++i) sorted[i] = keys[values[i]];
  CHECK(values_out.get() == values);
  CHECK(out.get() == sorted);
  CHECK(alone.get() == sorted);
}

}  // namespace

TEST_CASE("sorting is stable and looks at the bits it is told") {
  check_sort<uint64_t>(0, 64);
  check_sort<uint64_t>(9, 40);
  check_sort<uint32_t>(0, 32);
  check_sort<uint32_t>(0, 10);
}

TEST_CASE("selecting, adding up and bounding") {
  constexpr int n = 500;
  std::vector<int> values(n), sums(n), kept;
  std::vector<unsigned char> flags(n);
  int sum = 0;
  for (int i = 0; i < n; ++i) {
    values[i] = (i * 37 + 5) % 101 - 50;
    flags[i] = i % 3 == 1;
    if (flags[i]) kept.push_back(values[i]);
    sums[i] = sum;
    sum += values[i];
  }
  const Array<int> in(values), out(n), number(3);
  const Array<unsigned char> wanted(flags);
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceSelect::Flagged(scratch, bytes, in.data(), wanted.data(), out.data(),
                                      number.data(), n);
  });
  std::vector<int> got = out.get();
  got.resize(kept.size());
  CHECK(got == kept);
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(scratch, bytes, in.data(), out.data(), n);
  });
  CHECK(out.get() == sums);
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceReduce::Max(scratch, bytes, in.data(), number.data() + 1, n);
  });
  call_cub([&](void* scratch, size_t& bytes) {
    return cub::DeviceReduce::Sum(scratch, bytes, in.data(), number.data() + 2, n);
  });
  CHECK(number.get() == std::vector<int>{static_cast<int>(kept.size()), 50, sum});
}
