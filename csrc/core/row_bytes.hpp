// Rows as bytes, by which equal rows are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/rows.hpp"

namespace gtn {

struct RowBytes {
  const char* data;
  size_t size;
  bool operator==(const RowBytes& o) const { return std::memcmp(data, o.data, size) == 0; }
  uint64_t hash() const {  // FNV-1a over 4-byte words: rows are float32 or float64
    uint64_t h = 1469598103934665603ull;
    for (size_t at = 0; at < size; at += 4) {
      uint32_t word;
      std::memcpy(&word, data + at, 4);
      h = (h ^ word) * 1099511628211ull;
    }
    return h;
  }
};

inline int64_t row_bytes(const Rows& rows) {
  return rows.dim * (rows.dtype == DType::f32 ? 4 : 8);
}

inline RowBytes bytes_of(const Rows& rows, int64_t row) {
  const int64_t size = row_bytes(rows);
  return {static_cast<const char*>(rows.data) + row * size, static_cast<size_t>(size)};
}

}  // namespace gtn
