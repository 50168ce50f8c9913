// A parallel bucket sort of (key, row) pairs. Buckets are equal stretches of the range of keys; one
// that catches too much is split again by its own range, so that keys of any distribution take a
// few passes.
#include "core/order.hpp"

#include <algorithm>
#include <bit>
#include <mutex>

namespace gtn {
namespace {

struct Item {
  uint64_t key;
  int32_t row;
  bool operator<(const Item& o) const { return key != o.key ? key < o.key : row < o.row; }
};

constexpr int64_t kChunk = 1 << 16;
constexpr int64_t kSmall = 128;  // sorted as it is
constexpr int64_t kItemsPerBucket = 16;
constexpr int64_t kMostBuckets = 1 << 12;  // as many streams as caches and pages bear

// The keys of a stretch of items, and the bucket of each.
class Buckets {
 public:
  Buckets(uint64_t least, uint64_t most, int64_t items) : least_(least) {
    const auto wanted = static_cast<uint64_t>(std::min(kMostBuckets, items / kItemsPerBucket + 1));
    const uint64_t range = most - least;
    shift_ = std::max(
        0, static_cast<int>(std::bit_width(range)) - static_cast<int>(std::bit_width(wanted)));
    count_ = (range >> shift_) + 1;
  }
  size_t count() const { return count_; }
  size_t of(const Item& item) const { return (item.key - least_) >> shift_; }

 private:
  uint64_t least_;
  int shift_;
  size_t count_;
};

std::pair<uint64_t, uint64_t> range_of(const Item* begin, const Item* end) {
  uint64_t least = begin->key, most = begin->key;
  for (const Item* i = begin; i != end; ++i) {
    least = std::min(least, i->key);
    most = std::max(most, i->key);
  }
  return {least, most};
}

// Sorts items[0, n); scratch has as much room. Rows of equal keys ascend on entry.
void sort_items(Item* items, Item* scratch, int64_t n) {
  if (n <= kSmall) {
    std::sort(items, items + n);
    return;
  }
  const auto [least, most] = range_of(items, items + n);
  if (least == most) return;
  const Buckets buckets(least, most, n);
  std::vector<int64_t> start(buckets.count() + 1, 0);
  for (int64_t i = 0; i < n; ++i) ++start[buckets.of(items[i]) + 1];
  for (size_t b = 1; b < start.size(); ++b) start[b] += start[b - 1];
  std::vector<int64_t> at(start.begin(), start.end() - 1);
  for (int64_t i = 0; i < n; ++i) scratch[at[buckets.of(items[i])]++] = items[i];
  std::copy(scratch, scratch + n, items);
  for (size_t b = 0; b < buckets.count(); ++b) {
    if (start[b + 1] - start[b] > 1) {
      sort_items(items + start[b], scratch + start[b], start[b + 1] - start[b]);
    }
  }
}

}  // namespace

std::vector<int32_t> sorted_by_norm(const std::vector<int32_t>& rows,
                                    const std::vector<double>& norms, bool descending,
                                    Parallel& parallel) {
  const int64_t n = std::ssize(rows);
  std::vector<int32_t> order(rows.size());
  if (n == 0) return order;
  std::vector<Item> items(rows.size()), sorted(rows.size());
  // Positive doubles order like their bit patterns; complementing them reverses the order of norms
  // while ties still go to the lower row.
  const uint64_t flip = descending ? ~uint64_t{0} : uint64_t{0};
  uint64_t least = ~uint64_t{0}, most = 0;
  std::mutex mutex;
  parallel.run(n, kChunk, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = rows[i];
      const double norm = norms[row];
      items[i] = {std::bit_cast<uint64_t>(norm) ^ flip, row};
    }
    const auto [low, high] = range_of(&items[begin], &items[0] + end);
    std::lock_guard lock(mutex);
    least = std::min(least, low);
    most = std::max(most, high);
  });

  const Buckets buckets(least, most, n);
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  const size_t count = buckets.count();
  std::vector<int64_t> place(chunks * count, 0);  // [chunk][bucket]
  parallel.run(n, kChunk, [&](int64_t begin, int64_t end, int) {
    int64_t* counts = &place[(begin / kChunk) * count];
    for (int64_t i = begin; i < end; ++i) ++counts[buckets.of(items[i])];
  });
  std::vector<int64_t> start(count + 1, n);
  int64_t total = 0;
  for (size_t b = 0; b < count; ++b) {
    start[b] = total;
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t size = place[c * count + b];
      place[c * count + b] = total;
      total += size;
    }
  }
  parallel.run(n, kChunk, [&](int64_t begin, int64_t end, int) {
    int64_t* at = &place[(begin / kChunk) * count];
    for (int64_t i = begin; i < end; ++i) {
      const Item& item = items[i];
      sorted[at[buckets.of(item)]++] = item;
    }
  });
  parallel.run(count, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const size_t from = start[b];
      const int64_t size = start[b + 1] - start[b];
      if (size > 1) sort_items(&sorted[from], &items[from], size);
      for (size_t i = from; i < from + size; ++i) order[i] = sorted[i].row;
    }
  });
  return order;
}

}  // namespace gtn
