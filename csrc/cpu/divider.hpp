// Divides points along the dimension in which they extend most, again and again, so that
// neighbours in the resulting order are neighbours in space: how trees are built and sources of one
// direction are brought together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gtn {

class Divider {
 public:
  // points: [n, dim]
  Divider(std::vector<float> points, int64_t dim);

  // Moves the points of [begin, end) so that those before `middle` lie on one side of a plane and
  // the others on the other. Parts that share no point may be divided at the same time.
  void divide(int64_t begin, int64_t middle, int64_t end);
  // Divides [begin, end) in halves until parts have at most `most` points.
  void divide_all(int64_t begin, int64_t end, int64_t most);
  // The original row of the point that is now at `place`.
  int32_t row(int64_t place) const { return entries_[place].row; }

 private:
  struct Entry {
    float key;
    int32_t row;
  };
  const float* point(int64_t place) const { return &points_[row(place) * dim_]; }

  std::vector<float> points_;
  int64_t dim_;
  std::vector<Entry> entries_;
};

}  // namespace gtn
