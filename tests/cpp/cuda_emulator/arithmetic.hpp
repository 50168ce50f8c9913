// Instructions on numbers, exact to the bit: integer products, counts of bits, roundings in a
// direction. Directed roundings are computed from an exact sum of two float64, so no rounding mode
// is changed; compile without fused multiply-adds, as the contract asks anyway.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include "types.hpp"

namespace gtn::emulated {

// True if what this thread multiplies and adds is to be lost (settings.hpp).
bool fused_product_is_lost();

// The least float >= sum + error, where sum is the float64 nearest to it.
inline float round_up(double sum, double error) {
  const auto nearest = static_cast<float>(sum);
  const auto back = static_cast<double>(nearest);
  if (back < sum || (back == sum && error > 0)) {
    return std::nextafterf(nearest, std::numeric_limits<float>::infinity());
  }
  return nearest;
}

// Rounding error of a + b (Knuth's two-sum).
inline double sum_error(double a, double b) {
  const double sum = a + b, other = sum - a;
  return (a - (sum - other)) + (b - other);
}

template <class To>
To saturate(double value) {  // value is whole, or not finite
  if (std::isnan(value)) return 0;
  constexpr auto least = std::numeric_limits<To>::min(), most = std::numeric_limits<To>::max();
  if (value <= static_cast<double>(least)) return least;
  if (value >= static_cast<double>(most)) return most;
  return static_cast<To>(value);
}

}  // namespace gtn::emulated

inline float __fmaf_ru(float a, float b, float c) {
  const double product = static_cast<double>(a) * b;  // exact
  return gtn::emulated::round_up(product + c, gtn::emulated::sum_error(product, c));
}
inline float __fmul_ru(float a, float b) {
  return gtn::emulated::round_up(static_cast<double>(a) * b, 0);
}
inline float __fadd_ru(float a, float b) {
  return gtn::emulated::round_up(static_cast<double>(a) + b, gtn::emulated::sum_error(a, b));
}
inline float __fsqrt_ru(float a) {
  const float root = std::sqrt(a);
  return static_cast<double>(root) * root < a
             ? std::nextafterf(root, std::numeric_limits<float>::infinity())
             : root;
}
inline float __int2float_ru(int a) {
  return gtn::emulated::round_up(a, 0);
}
inline float __double2float_ru(double a) {
  return gtn::emulated::round_up(a, 0);
}
inline float __double2float_rd(double a) {
  return -gtn::emulated::round_up(-a, 0);
}

inline float __fmaf_rn(float a, float b, float c) {
  return gtn::emulated::fused_product_is_lost() ? c : std::fma(a, b, c);
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __double2float_rn(double a) {
  return static_cast<float>(a);
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __ddiv_rn(double a, double b) {
  return a / b;
}
inline double __dsqrt_rn(double a) {
  return std::sqrt(a);
}

inline int __float2int_rn(float a) {
  return gtn::emulated::saturate<int>(std::nearbyint(a));
}
inline int __double2int_rn(double a) {
  if (std::isnan(a)) return std::numeric_limits<int>::min();  // of float32 it is zero
  return gtn::emulated::saturate<int>(std::nearbyint(a));
}

inline float __int_as_float(int a) {
  return std::bit_cast<float>(a);
}
inline int __float_as_int(float a) {
  return std::bit_cast<int>(a);
}
inline float __uint_as_float(unsigned a) {
  return std::bit_cast<float>(a);
}
inline unsigned __float_as_uint(float a) {
  return std::bit_cast<unsigned>(a);
}
inline double __longlong_as_double(long long a) {
  return std::bit_cast<double>(a);
}
inline long long __double_as_longlong(double a) {
  return std::bit_cast<long long>(a);
}

inline int __popc(unsigned a) {
  return std::popcount(a);
}
inline int __popcll(unsigned long long a) {
  return std::popcount(a);
}
inline int __clz(int a) {
  return std::countl_zero(static_cast<unsigned>(a));
}
inline int __clzll(long long a) {
  return std::countl_zero(static_cast<unsigned long long>(a));
}
inline int __ffs(int a) {
  return __builtin_ffs(a);
}
inline int __ffsll(long long a) {
  return __builtin_ffsll(a);
}

// Four products of bytes, added to sum; wraps around.
inline int __dp4a(int a, int b, int sum) {
  auto total = static_cast<unsigned>(sum);
  for (int shift = 0; shift < 32; shift += 8) {
    total +=
        static_cast<unsigned>(static_cast<int8_t>(a >> shift) * static_cast<int8_t>(b >> shift));
  }
  return static_cast<int>(total);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int shift = 0; shift < 32; shift += 8) sum += (a >> shift & 255u) * (b >> shift & 255u);
  return sum;
}
inline int __vimax3_s32(int a, int b, int c) {
  const int most = a > b ? a : b;
  return most > c ? most : c;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}

// CUDA's own min and max of equal types; of a number and a NaN, the number.
template <class T>
  requires std::integral<T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
  requires std::integral<T>
T max(T a, T b) {
  return a < b ? b : a;
}
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}
