// Rows: a read-only view of a [count, dim] C-contiguous matrix of float32 or float64, with an
// optional float64 column mean that is subtracted on reading (the contract's centring).
// It owns nothing. Arithmetic on rows lives in contract.hpp.
#pragma once

#include <cstdint>

namespace gtn {

enum class DType { f32, f64 };

struct Rows {
  const void* data = nullptr;  // [count, dim]
  DType dtype = DType::f32;
  int64_t count = 0;
  int64_t dim = 0;
  const double* mean = nullptr;  // [dim] or null: row k reads as double(data[k]) - mean[k]
  // If set, every row counts as this long: what works on unit vectors then works on rows divided by
  // it. No row is longer.
  double length = 0.0;
  // If set, no coordinate of a row is larger: a search for some of many rows need not look.
  double largest = 0.0;
  const char* name = "";  // the argument's name in error messages
};

}  // namespace gtn
