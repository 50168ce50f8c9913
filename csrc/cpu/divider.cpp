#include "cpu/divider.hpp"

#include <algorithm>
#include <limits>

namespace gtn {
namespace {
constexpr int64_t kExtents = 128;  // points looked at to choose the dimension
}  // namespace

Divider::Divider(std::vector<float> points, int64_t dim)
    : points_(std::move(points)), dim_(dim), entries_(points_.size() / dim) {
  for (size_t i = 0; i < entries_.size(); ++i) entries_[i].row = static_cast<int32_t>(i);
}

void Divider::divide(int64_t begin, int64_t middle, int64_t end) {
  const int64_t stride = std::max<int64_t>(1, (end - begin) / kExtents);
  int64_t widest = 0;
  float most = -1.0f;
  for (int64_t k = 0; k < dim_; ++k) {
    float low = point(begin)[k], high = low;
    for (int64_t i = begin; i < end; i += stride) {
      low = std::min(low, point(i)[k]);
      high = std::max(high, point(i)[k]);
    }
    if (high - low > most) {
      most = high - low;
      widest = k;
    }
  }
  for (int64_t i = begin; i < end; ++i) entries_[i].key = point(i)[widest];
  const auto place = [&](int64_t i) { return entries_.begin() + i; };
  std::nth_element(place(begin), place(middle), place(end),
                   [](const Entry& a, const Entry& b) { return a.key < b.key; });
}

void Divider::divide_all(int64_t begin, int64_t end, int64_t most) {
  if (end - begin <= most) return;
  const int64_t middle = begin + (end - begin) / 2;
  divide(begin, middle, end);
  divide_all(begin, middle, most);
  divide_all(middle, end, most);
}

}  // namespace gtn
