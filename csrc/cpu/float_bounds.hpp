// float64 values as bounds in float32.
#pragma once

#include <cmath>
#include <limits>

namespace gtn {

// The largest float32 that is not above v.
inline float round_down(double v) {
  const float f = static_cast<float>(v);
  const float below = -std::numeric_limits<float>::infinity();
  return static_cast<double>(f) > v ? std::nextafter(f, below) : f;
}
// The least float32 that is not below v.
inline float round_up(double v) {
  return -round_down(-v);
}

}  // namespace gtn
