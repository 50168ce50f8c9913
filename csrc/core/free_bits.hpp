// FreeBits: a set of positions from which elements are removed, with the next element at or after a
// position in a few steps: one bit a position, above every 64 words one bit for each that is not
// empty, and so on.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gtn {

class FreeBits {
 public:
  // All of [0, size).
  explicit FreeBits(int64_t size = 0) : size_(size) {
    for (int64_t bits = size;;) {
      const int64_t words = (bits + 63) / 64;
      levels_.emplace_back(words, ~uint64_t{0});
      if (bits % 64 != 0) levels_.back().back() = (uint64_t{1} << bits % 64) - 1;
      if (words <= 1) break;
      bits = words;
    }
  }
  int64_t size() const { return size_; }

  void remove(int64_t at) {
    for (auto& level : levels_) {
      uint64_t& word = level[at / 64];
      word &= ~(uint64_t{1} << at % 64);
      if (word != 0) return;
      at /= 64;
    }
  }

  // The bits of positions [64 * word, 64 * word + 64).
  uint64_t word(int64_t word) const { return levels_[0][word]; }

  // The least element at or after a position; size() if there is none.
  int64_t next(int64_t at) const {
    size_t level = 0;
    for (; level < levels_.size(); ++level) {
      const size_t word = at / 64;
      if (word >= levels_[level].size()) return size_;
      const uint64_t rest = levels_[level][word] >> at % 64;
      if (rest != 0) {
        at += std::countr_zero(rest);
        break;
      }
      at = at / 64 + 1;
    }
    if (level == levels_.size()) return size_;
    while (level-- > 0) {
      at = at * 64 + std::countr_zero(levels_[level][at]);
    }
    return at;
  }

 private:
  int64_t size_;
  std::vector<std::vector<uint64_t>> levels_;
};

}  // namespace gtn
