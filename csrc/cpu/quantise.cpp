// Loops run over lanes of fixed number, so that compilers vectorise them
// for any baseline without being allowed to reorder additions.
#include "cpu/quantise.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace gtn {
namespace {

constexpr int64_t kLanes = 8;

// Adding it to a float of less than 2^22 leaves the nearest integer in the low bits of the sum.
constexpr float kMagic = 0x1.8p23f;

// The largest code norm of either side: products of two such norms, and so by Cauchy-Schwarz all
// dot products, stay below 2^31. Rounding adds at most half a step a dimension.
double largest_code_norm(int64_t dim, double root = 46340.0) {
  return std::max(1.0, root - 0.5 * std::sqrt(static_cast<double>(dim)) - 2.0);
}
// With prices: products below 2^30, prices another 2^30.
constexpr double kPricedRoot = 32767.0;

template <class Code>
int64_t sum_of(const Code* codes, int64_t dim) {
  int64_t sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum += codes[k];
  return sum;
}

template <class Code>
double norm_of(const Code* codes, int64_t dim) {
  int64_t sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum += static_cast<int64_t>(int32_t{codes[k]} * codes[k]);
  return std::sqrt(static_cast<double>(sum));
}

template <class Code>
SourceCode encode(const double* unit, int64_t dim, double step, void* out) {
  SourceCode code;
  auto* codes = static_cast<Code*>(out);
  code.step = step;
  const double left = quantise(unit, dim, code.step, 0, codes);
  code.coded_norm = round_up(code.step * norm_of(codes, dim), dim);
  code.residual = residual_bound(left, code.step, 1.0, dim);
  // int8 latents carry 128 in every code. The sums are taken modulo 2^32, so wrapping is harmless.
  if (sizeof(Code) == 1) {
    code.start = static_cast<int32_t>(static_cast<uint32_t>(-128 * sum_of(codes, dim)));
  }
  return code;
}

}  // namespace

Extent extent_of(const double* v, int64_t dim) {
  double top[kLanes] = {}, squares[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= dim; k += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const double a = std::fabs(v[k + j]);
      top[j] = a > top[j] ? a : top[j];
      squares[j] += a * a;
    }
  }
  for (int64_t j = 0; k < dim; ++k, ++j) {
    const double a = std::fabs(v[k]);
    top[j] = a > top[j] ? a : top[j];
    squares[j] += a * a;
  }
  Extent e;
  for (int64_t j = 0; j < kLanes; ++j) {
    e.largest = std::max(e.largest, top[j]);
    e.norm += squares[j];
  }
  e.norm = round_up(std::sqrt(e.norm), dim);
  return e;
}

double step_for(const Extent& extent, double code_limit, int64_t dim, bool priced) {
  const double root = priced ? kPricedRoot : 46340.0;
  const double step =
      std::max(extent.largest / code_limit, extent.norm / largest_code_norm(dim, root));
  // Codes are computed with the inverse; a step this small would overflow it. Such vectors are one
  // point.
  return std::max(step, 1e-290);
}

template <class Code>
double quantise(const double* v, int64_t dim, double step, int32_t offset, Code* out) {
  const double inverse = 1.0 / step;
  const int32_t shift = offset - std::bit_cast<int32_t>(kMagic);
  float squares[kLanes] = {};
  // In units of the step codes are small and float32 is enough: residual_bound has what it loses.
  const auto one = [&](int64_t k, int64_t lane) {
    const float scaled = static_cast<float>(v[k] * inverse);
    const float marked = scaled + kMagic;
    out[k] = static_cast<Code>(std::bit_cast<int32_t>(marked) + shift);
    const float left = scaled - (marked - kMagic);
    squares[lane] += left * left;
  };
  int64_t k = 0;
  for (; k + kLanes <= dim; k += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) one(k + j, j);
  }
  for (int64_t j = 0; k < dim; ++k, ++j) one(k, j);
  double sum = 0.0;
  for (const float s : squares) sum += static_cast<double>(s);
  return std::sqrt(sum);
}

template double quantise<int8_t>(const double*, int64_t, double, int32_t, int8_t*);
template double quantise<uint8_t>(const double*, int64_t, double, int32_t, uint8_t*);
template double quantise<int16_t>(const double*, int64_t, double, int32_t, int16_t*);

double residual_bound(double left, double step, double norm, int64_t dim) {
  // Each square is rounded, and so is each of the dim / kLanes additions of a lane: half of these
  // relative errors remain after the root. What scaled vectors lose as float32 is below 2^-24 of
  // their norm, or far below 1e-9 where they underflow. The differences behind v were rounded, too.
  const double rounding = static_cast<double>(dim + 32) * 0x1p-24;
  return step * (left * (1.0 + rounding) + 1e-9) + norm * (0x1p-23 + rounding_slack(dim));
}

SourceCode encode_source(const double* unit, int64_t dim, Arithmetic arithmetic, int32_t limit,
                         void* out) {
  std::memset(out, 0, static_cast<size_t>(steps_for(dim, arithmetic)) * 4);
  const bool narrow = arithmetic == Arithmetic::int8;
  const double most = narrow ? static_cast<double>(limit) : 32767.0;
  const double step = step_for({extent_of(unit, dim).largest, 1.0}, most, dim);
  return narrow ? encode<int8_t>(unit, dim, step, out) : encode<int16_t>(unit, dim, step, out);
}

PriceDigits::PriceDigits(Arithmetic a, int32_t limit)
    : arithmetic(a), weight(a == Arithmetic::int8 ? limit : 32767) {}

void PriceDigits::write(int64_t sum, void* out) const {
  sum = std::clamp<int64_t>(sum, -largest(), largest());
  if (arithmetic == Arithmetic::int16) {
    // The nearest multiple of the weight, and the rest.
    int64_t high =
        std::clamp<int64_t>((sum + (sum < 0 ? -weight : weight) / 2) / weight, -32767, 32767);
    const int16_t codes[2] = {static_cast<int16_t>(high),
                              static_cast<int16_t>(sum - high * weight)};
    std::memcpy(out, codes, 4);
    return;
  }
  uint8_t codes[4];
  for (int i = 0; i < 3; ++i) {
    const int64_t left = 3 - i;  // digits that share what is to come
    const int64_t digit = std::clamp<int64_t>(sum / weight / left, -127, 127);
    codes[i] = static_cast<uint8_t>(digit + 128);
    sum -= digit * weight;
  }
  codes[3] = static_cast<uint8_t>(std::clamp<int64_t>(sum, -127, 127) + 128);
  std::memcpy(out, codes, 4);
}

double priced_source_step(double largest, int64_t dim, Arithmetic arithmetic, int32_t limit) {
  const double most = arithmetic == Arithmetic::int8 ? static_cast<double>(limit) : 32767.0;
  return step_for({largest, 1.0}, most, dim, true);
}

SourceCode encode_priced_source(const double* unit, int64_t dim, const PriceDigits& digits,
                                double step, void* out) {
  const int32_t steps = steps_for(dim, digits.arithmetic);
  auto* bytes = static_cast<std::byte*>(out);
  std::memset(bytes, 0, static_cast<size_t>(steps + 1) * 4);
  if (digits.arithmetic == Arithmetic::int16) {
    const SourceCode code = encode<int16_t>(unit, dim, step, out);
    const int16_t weights[2] = {static_cast<int16_t>(digits.weight), 1};
    std::memcpy(bytes + steps * 4, weights, 4);
    return code;
  }
  SourceCode code = encode<int8_t>(unit, dim, step, out);
  const auto weight = static_cast<int8_t>(digits.weight);
  const int8_t weights[4] = {weight, weight, weight, 1};
  std::memcpy(bytes + steps * 4, weights, 4);
  code.start -= 128 * (3 * digits.weight + 1);
  return code;
}

}  // namespace gtn
