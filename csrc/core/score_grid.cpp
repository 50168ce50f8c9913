#include "core/score_grid.hpp"

#include <bit>

namespace gtn {

ScoreGrid::ScoreGrid(double largest, int64_t latents) : factor_(latents + 1) {
  int e;
  std::frexp(largest, &e);
  exponent_ = kBits - static_cast<int>(std::bit_width(static_cast<uint64_t>(factor_))) - e;
}

int64_t ScoreGrid::above(double bound) const {
  constexpr double kMost = 0x1p60;  // beyond prices and scores
  const double scaled = std::ceil(std::ldexp(bound, exponent_)) + 1.0;
  if (!(scaled < kMost / static_cast<double>(factor_))) return INT64_MAX / 4;
  if (scaled < -kMost / static_cast<double>(factor_)) return INT64_MIN / 4;
  return static_cast<int64_t>(scaled) * factor_;
}

}  // namespace gtn
