// PriceFloor: below the prices of each box of a tree (direction_tree.hpp) lies a paraboloid around
// the box's centre c,
//   p_j >= rest + <slope, x_j - c> + curvature / 2 |x_j - c|^2,
// so that no latent of the box gives a source y more than
//   <y, c> - rest + sum_k max over |t| <= half_k of ((y - slope)_k t - curvature / 2 t^2).
// Prices of transport are about a convex function of x, and its slope is the source that is matched
// with x. This bound follows it, and a walk meets hardly more than the boxes next to the best
// latents. A bound by the least price is loose by the width of the box. In cosines, as all of the
// tree.
#pragma once

#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "cpu/direction_tree.hpp"

namespace gtn {

class PriceFloor {
 public:
  // Below prices of 0.
  explicit PriceFloor(const DirectionTree& tree);

  // Fits all boxes to prices by position (DirectionTree::position).
  void fit(const std::vector<double>& price, Parallel& parallel);
  // The price of a position rose from `before`. Lifts what lies below its leaf, whose prices are
  // `price`, and below the boxes above as far as that changes them.
  void lift(int32_t position, double before, const double* price);

  // What TreeKernel::far_boxes reads of a group:
  // [dim][centre, half, slope][16], then [curvature, 1 / curvature, rest][16].
  const float* group(size_t level, int64_t group) const {
    return levels_[level].data() + group * group_floats();
  }
  // The sum over all coordinates of the largest |slope| of any box.
  double steepness() const { return steepness_; }

 private:
  struct Fit;
  int64_t group_floats() const { return (tree_.dim() + 1) * 3 * kGroupBoxes; }
  float* lane(size_t level, int64_t slot) {
    return levels_[level].data() + slot / kGroupBoxes * group_floats() + slot % kGroupBoxes;
  }
  float& rest(size_t level, int64_t slot) {
    return lane(level, slot)[(3 * tree_.dim() + 2) * kGroupBoxes];
  }
  void set_box(size_t level, int64_t slot);
  void set_shape(size_t level, int64_t slot, const Fit& fit);
  void fit_leaf(int64_t slot, const double* price, Fit& fit) const;
  void set_on_floor(int64_t slot);
  void set_above(size_t level, int64_t slot);
  float rest_of_leaf(int64_t slot, const double* price) const;
  float rest_of_group(size_t level, int64_t group);

  const DirectionTree& tree_;
  std::vector<std::vector<float>> levels_;  // groups of a level, the root's first
  // By level and slot: the rest of a box is at least the rest of a child plus the child's `above`,
  // the least difference of their paraboloids, without rests, in the child's box.
  std::vector<std::vector<double>> above_;
  std::vector<double> on_floor_;  // by position: the leaf's paraboloid, without rest, rounded up
  double steepness_ = 0.0;
};

}  // namespace gtn
