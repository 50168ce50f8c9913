// The order of operations of the contract's dot product, one source for the host and the device:
// what contract.cpp calls, and the kernels of csrc/cuda. Compiled without fused multiply-adds.
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace gtn {

// Element k of a row as float64, less the column mean if there is one.
template <class T, bool Centred>
struct Row {
  const T* data;
  const double* mean;
  GTN_HD double operator[](int64_t k) const {
    if constexpr (Centred) {
      return static_cast<double>(data[k]) - mean[k];
    } else {
      return static_cast<double>(data[k]);
    }
  }
};

// The eight accumulators in the contract's order.
GTN_HD inline double sum_of_accumulators(const double (&s)[8]) {
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

template <class A, class B>
GTN_HD double dot(A a, B b, int64_t dim) {
  double s[8] = {};
  int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    for (int j = 0; j < 8; ++j) s[j] += a[k + j] * b[k + j];
  }
  // Accumulators by constants: on the device they stay in registers.
  for (int j = 0; j < 8; ++j) {
    if (k + j < dim) s[j] += a[k + j] * b[k + j];
  }
  return sum_of_accumulators(s);
}

}  // namespace gtn
