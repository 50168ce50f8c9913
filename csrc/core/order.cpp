// Implements order.hpp: a parallel merge sort of (key, row) pairs.
#include "core/order.hpp"

#include <algorithm>
#include <bit>

namespace gtn {
namespace {
struct Item {
  uint64_t key;
  int32_t row;
  bool operator<(const Item& o) const { return key != o.key ? key < o.key : row < o.row; }
};
constexpr int64_t kChunk = 1 << 16;
}  // namespace

std::vector<int32_t> sorted_by_norm(const std::vector<int32_t>& rows,
                                    const std::vector<double>& norms, bool descending,
                                    Parallel& parallel) {
  const int64_t n = static_cast<int64_t>(rows.size());
  std::vector<Item> items(rows.size());
  // Positive doubles order like their bit patterns; complementing them reverses the order of norms
  // while ties still go to the lower row.
  const uint64_t flip = descending ? ~uint64_t{0} : uint64_t{0};
  parallel.run(n, kChunk, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = rows[static_cast<size_t>(i)];
      const double norm = norms[static_cast<size_t>(row)];
      items[static_cast<size_t>(i)] = {std::bit_cast<uint64_t>(norm) ^ flip, row};
    }
    std::sort(items.begin() + begin, items.begin() + end);
  });
  std::vector<Item> merged(n > kChunk ? items.size() : 0);
  for (int64_t width = kChunk; width < n; width *= 2) {
    parallel.run((n + 2 * width - 1) / (2 * width), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t m = begin; m < end; ++m) {
        const int64_t lo = m * 2 * width;
        const int64_t mid = std::min(n, lo + width);
        const int64_t hi = std::min(n, lo + 2 * width);
        std::merge(items.begin() + lo, items.begin() + mid, items.begin() + mid, items.begin() + hi,
                   merged.begin() + lo);
      }
    });
    items.swap(merged);
  }
  std::vector<int32_t> order(rows.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = items[i].row;
  return order;
}

}  // namespace gtn
