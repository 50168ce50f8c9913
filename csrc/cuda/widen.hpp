// Rows of any element type and layout, on a device, made what the engine takes: contiguous float32
// or float64 (numeric contract, rule 1). Not here: whose memory the rows are (bindings/dlpack.hpp).
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "core/host_device.hpp"
#include "core/rows.hpp"

namespace gtn::cuda {

enum class Element : uint8_t { f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

// Bits of the types that C++ lacks.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

GTN_HD inline float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Exact, but for integers beyond 2^53, which round to the nearest even.
GTN_HD inline float widened(Float16 v) {
  const uint32_t sign = (v.bits & 0x8000u) << 16;
  const uint32_t exponent = v.bits >> 10 & 0x1fu, fraction = v.bits & 0x3ffu;
  if (exponent == 0) {  // 0 and subnormals: fraction * 2^-24, which float32 holds as normal numbers
    const float size = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -size : size;
  }
  const uint32_t biased = exponent == 0x1f ? 0xffu : exponent + (127 - 15);
  return float_of_bits(sign | biased << 23 | fraction << 13);
}
GTN_HD inline float widened(BFloat16 v) {
  return float_of_bits(uint32_t{v.bits} << 16);
}
GTN_HD inline float widened(float v) {
  return v;
}
template <class Number>
GTN_HD double widened(Number v) {
  return static_cast<double>(v);
}

struct StridedRows {
  const void* data;  // aligned to its elements
  Element element;
  int64_t count;
  int64_t dim;
  int64_t row_stride;     // in elements, as is the next
  int64_t column_stride;  // of either sign, or 0

  DType engine_type() const { return element <= Element::f32 ? DType::f32 : DType::f64; }
  // True if the engine can take the rows as they are.
  bool is_engine_layout() const {
    return (element == Element::f32 || element == Element::f64) &&
           (dim == 1 || column_stride == 1) && (count == 1 || row_stride == dim);
  }
};

// A converted copy of rows that lie on this device, made on the stream (cudaStream_t). The memory
// is the device's and lives as long as the pointer. Throws OutOfMemory and Error; `name` is the
// argument's in messages.
std::shared_ptr<const void> widen(const StridedRows& rows, const char* name, int device,
                                  void* stream);

}  // namespace gtn::cuda
