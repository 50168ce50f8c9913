// The two orders in which codes lie in global memory. A scan kernel names its own, and the codes of
// a run lie in the order of its kernel: there is no second copy. Pure arithmetic, for the host and
// the device.
//
//   rows   row after row, `stride` bytes each
//   tiles  tiles of 128 rows one after another; in a tile its chunks of 64 columns, and of each
//          chunk 128 rows of 64 bytes, swizzled as wgmma reads them. So a chunk of a tile is 8 KB
//          that a bulk copy brings to shared memory as they lie. Where the stride is no multiple of
//          64, the last chunk has 32 columns, and the 32-byte swizzle.
//
// A chunk of 128 columns would be no better for the tensor cores: no swizzle has bank conflicts.
// It would need rows padded to 128 bytes, and stages of twice the size, beside which a block keeps
// fewer of its sources: of 1,024 columns a quarter, not half.
#pragma once

#include <cstdint>

#include "core/host_device.hpp"
#include "cuda/slots.hpp"

namespace gtn::cuda {

enum class CodeOrder { rows, tiles };

constexpr int kChunk = 64;
constexpr int kPiece = 16;  // bytes that stay together, whatever the order

// Columns of chunk `chunk` of a row: 64, or 32.
GTN_HD inline int32_t chunk_width(int32_t stride, int32_t chunk) {
  const int32_t left = stride - chunk * kChunk;
  return left < kChunk ? left : kChunk;
}

// Place of piece `piece` of row `row` in a chunk of 64 columns, and in one of 32. Eight successive
// rows meet all banks.
GTN_HD inline int32_t piece_at(int32_t row, int32_t piece) {
  return row * kChunk + (piece ^ (row / 2 % 4)) * kPiece;
}
GTN_HD inline int32_t piece_at_half(int32_t row, int32_t piece) {
  return row * (kChunk / 2) + (piece ^ (row / 4 % 2)) * kPiece;
}

// The codes of one row. Byte: int8_t, or const int8_t.
template <class Byte>
class CodeRow {
 public:
  // `codes`: of row 0.
  GTN_HD CodeRow(Byte* codes, CodeOrder order, int32_t stride, int64_t row)
      : from_(codes + (order == CodeOrder::rows ? row : row - row % kTileSlots) * stride),
        wide_(stride / kChunk * kChunk),
        row_(order == CodeOrder::rows ? -1 : static_cast<int32_t>(row % kTileSlots)) {}

  // All codes of the row one after another, or null where they do not lie so.
  GTN_HD Byte* whole() const { return row_ < 0 ? from_ : nullptr; }
  // The code of a column; those of its piece follow one another.
  GTN_HD Byte* at(int32_t column) const {
    if (row_ < 0) return from_ + column;
    const int32_t piece = column % kChunk / kPiece, byte = column % kPiece;
    Byte* chunk = from_ + column / kChunk * (kTileSlots * kChunk) + byte;
    return chunk + (column < wide_ ? piece_at(row_, piece) : piece_at_half(row_, piece));
  }

 private:
  Byte* from_;
  int32_t wide_;  // columns in chunks of 64
  int32_t row_;   // in its tile; -1: in the order of rows
};

}  // namespace gtn::cuda
