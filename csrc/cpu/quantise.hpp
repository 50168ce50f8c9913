// Quantises vectors to integer codes and bounds the error. Shared by the codes of latents
// (codes.hpp) and of sources; no panels and no cells here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/contract.hpp"

namespace gtn {

enum class Arithmetic { int8, int16 };

constexpr int dims_per_step(Arithmetic a) {
  return a == Arithmetic::int8 ? 4 : 2;
}
inline int32_t steps_for(int64_t dim, Arithmetic a) {
  return static_cast<int32_t>((dim + dims_per_step(a) - 1) / dims_per_step(a));
}

// Inflates a computed norm or bound past its own rounding.
inline double round_up(double v, int64_t dim) {
  return v * (1.0 + 2.0 * rounding_slack(dim));
}

// The largest coordinate and the norm of a vector.
struct Extent {
  double largest = 0.0;
  double norm = 0.0;
};
Extent extent_of(const double* v, int64_t dim);

// A step with which vectors of at most this extent have codes of at most `code_limit`, and such
// that no integer product of two codes leaves int32.
double step_for(const Extent& extent, double code_limit, int64_t dim, bool priced = false);

// Writes the codes of v, plus `offset`, as int8, uint8 or int16. Returns |v / step - code|, rounded
// up except for what residual_bound adds.
template <class Code>
double quantise(const double* v, int64_t dim, double step, int32_t offset, Code* out);

// >= |v - step * code| for any v of at most this norm with quantise() <= `left`.
double residual_bound(double left, double step, double norm, int64_t dim);

// One coded source.
struct SourceCode {
  double step = 1.0;
  double coded_norm = 0.0;  // >= |step * code|
  double residual = 0.0;    // >= |y/|y| - step * code|
  int32_t start = 0;        // first value of the kernels' sums
};

// Codes y/|y| into out ([steps][4 bytes]). limit: largest |int8 code| of the kernel.
SourceCode encode_source(const double* unit, int64_t dim, Arithmetic arithmetic, int32_t limit,
                         void* out);

// Prices. A latent's price is coded as the digits of one more step, which the codes of every source
// multiply with the same weights, so that a sum is that of <y, x> - price. Sources then share a
// step, and products leave the price its part of int32.

// The weights of the digits, and the largest sum of them.
struct PriceDigits {
  PriceDigits(Arithmetic arithmetic, int32_t limit);
  int32_t largest() const {
    return arithmetic == Arithmetic::int8 ? 127 * (3 * weight + 1) : 32767 * (weight + 1);
  }
  // Writes the digits of a sum (4 bytes), clamped to [-largest, largest].
  void write(int64_t sum, void* out) const;

  Arithmetic arithmetic;
  int32_t weight;
};

// The step that all sources of at most this largest coordinate share.
double priced_source_step(double largest, int64_t dim, Arithmetic arithmetic, int32_t limit);
// encode_source with that step, and the weights behind it.
SourceCode encode_priced_source(const double* unit, int64_t dim, const PriceDigits& digits,
                                double step, void* out);

}  // namespace gtn
