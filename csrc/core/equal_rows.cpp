#include "core/equal_rows.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>

#include "core/order.hpp"
#include "core/row_bytes.hpp"

namespace gtn {
namespace {

constexpr int64_t kBytesAtOnce = int64_t{16} << 20;  // of rows that are compared

struct Hashed {
  uint64_t hash;
  int32_t row;
};

// Rows that are equal to another one if hashes and squares do not deceive: runs of those, each in
// ascending order.
std::vector<Hashed> likely_equal(const Rows& rows, std::span<const int64_t> here,
                                 const std::vector<double>& squares, Collective& ranks,
                                 Parallel& parallel) {
  std::vector<int32_t> all(squares.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> sorted = sorted_by_norm(all, squares, false, parallel);
  std::vector<uint8_t> asked(squares.size(), 0);
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (squares[sorted[i]] == squares[sorted[i - 1]]) asked[sorted[i]] = asked[sorted[i - 1]] = 1;
  }
  std::vector<Hashed> own;
  for (size_t i = 0; i < here.size(); ++i) {
    if (asked[here[i]]) own.push_back({bytes_of(rows, i).hash(), static_cast<int32_t>(here[i])});
  }
  std::vector<Hashed> found;
  ranks.for_each<Hashed>(own, [&](const Hashed& h) { found.push_back(h); });
  const auto key = [&](const Hashed& h) { return std::tuple(squares[h.row], h.hash, h.row); };
  std::sort(found.begin(), found.end(),
            [&](const Hashed& a, const Hashed& b) { return key(a) < key(b); });
  const auto alike = [&](const Hashed& a, const Hashed& b) {
    return squares[a.row] == squares[b.row] && a.hash == b.hash;
  };
  std::vector<Hashed> likely;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool before = i > 0 && alike(found[i - 1], found[i]);
    if (before || (i + 1 < found.size() && alike(found[i], found[i + 1]))) {
      likely.push_back(found[i]);
    }
  }
  return likely;
}

}  // namespace

std::vector<int32_t> equal_rows(const Rows& rows, std::span<const int64_t> here,
                                const std::vector<double>& squares, Collective& ranks,
                                Parallel& parallel) {
  const std::vector<Hashed> likely = likely_equal(rows, here, squares, ranks, parallel);
  if (likely.empty()) return {};
  std::vector<int32_t> first(squares.size());
  std::iota(first.begin(), first.end(), 0);
  const int64_t size = row_bytes(rows), step = std::max<int64_t>(1, kBytesAtOnce / size);
  // A record is a place in the piece, and a row.
  const int64_t record = static_cast<int64_t>(sizeof(int64_t)) + size;
  std::vector<char> piece, head(size);
  std::vector<std::byte> own;
  int32_t leader = -1;
  bool any = false;
  for (int64_t begin = 0; begin < std::ssize(likely); begin += step) {
    const int64_t end = std::min(begin + step, std::ssize(likely));
    own.clear();
    for (int64_t i = begin; i < end; ++i) {
      const auto at = std::lower_bound(here.begin(), here.end(), int64_t{likely[i].row});
      if (at == here.end() || *at != likely[i].row) continue;
      const int64_t place = i - begin;
      own.resize(own.size() + record);
      std::memcpy(&*(own.end() - record), &place, sizeof(place));
      std::memcpy(&*(own.end() - size), bytes_of(rows, at - here.begin()).data, size);
    }
    piece.resize((end - begin) * size);
    ranks.for_each_of_bytes(own, record, [&](const std::byte* from) {
      int64_t place;
      std::memcpy(&place, from, sizeof(place));
      std::memcpy(&piece[place * size], from + sizeof(place), size);
    });
    for (int64_t i = begin; i < end; ++i) {
      const char* const row = &piece[(i - begin) * size];
      const bool in_run = i > 0 && likely[i].hash == likely[i - 1].hash &&
                          squares[likely[i].row] == squares[likely[i - 1].row];
      if (in_run && std::memcmp(row, head.data(), size) == 0) {
        first[likely[i].row] = leader;
        any = true;
      } else {
        leader = likely[i].row;
        std::memcpy(head.data(), row, size);
      }
    }
  }
  if (!any) first.clear();
  return first;
}

}  // namespace gtn
