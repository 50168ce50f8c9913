// ScoreGrid: scores of optimal transport as integers, so that its solver adds, compares and proves
// without rounding. A dot product becomes rint(2^q * dot) * factor: factor exceeds the number of
// latents, so that an epsilon of 1 places every source in an optimum (auction.hpp).
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.hpp"

namespace gtn {

class ScoreGrid {
 public:
  // Bits of the largest score; the rest of int64 is left to prices.
  static constexpr int kBits = 53;

  // largest: the largest norm of a latent times that of a source.
  ScoreGrid(double largest, int64_t latents);

  GTN_HD int64_t of(double dot) const {
    return static_cast<int64_t>(std::rint(std::ldexp(dot, exponent_))) * factor_;
  }
  // >= of(dot) for every dot <= bound.
  int64_t above(double bound) const;
  double real(int64_t score) const {
    return std::ldexp(static_cast<double>(score) / static_cast<double>(factor_), -exponent_);
  }
  int exponent() const { return exponent_; }
  int64_t factor() const { return factor_; }

 private:
  int exponent_;
  int64_t factor_;
};

}  // namespace gtn
