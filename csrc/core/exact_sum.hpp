// ExactSum: a sum of integers that leaves int64, rounded to float64 once. What decides of an
// auction's course has to be the same in any order of addition.
#pragma once

#include <cmath>
#include <cstdint>

namespace gtn {

// Of up to 2^31 values of at most 54 bits.
class ExactSum {
 public:
  void add(int64_t value, int64_t times = 1) {
    high_ += (value >> kLowBits) * times;
    low_ += (value & kLow) * times;
  }
  double rounded() const {
    return std::ldexp(static_cast<double>(high_ + (low_ >> kLowBits)), kLowBits) +
           static_cast<double>(low_ & kLow);
  }

 private:
  static constexpr int kLowBits = 32;
  static constexpr int64_t kLow = (int64_t{1} << kLowBits) - 1;
  int64_t high_ = 0, low_ = 0;
};

}  // namespace gtn
