#include "cpu/price_floor.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/float_bounds.hpp"

namespace gtn {
namespace {

constexpr float kFar = std::numeric_limits<float>::infinity();
// Where prices say little of a slope, it is drawn to 0 by this share of the latents' variance.
constexpr double kRidge = 1e-4;
// Sources have norms of at most 1, and slopes are about sources.
constexpr double kSteepest = 2.0;
// Its reciprocal and products with it stay far from the ends of float32.
constexpr double kLeastCurvature = 0x1p-20;
constexpr double kMostCurvature = 0x1p20;

// Solves a v = b for a symmetric a, [size][size] of which the lower triangle is given, by
// Cholesky's decomposition.
void solve(std::vector<double> a, size_t size, double ridge, std::vector<double>& v) {
  for (size_t k = 0; k < size; ++k) {
    for (size_t l = 0; l < k; ++l) {
      for (size_t i = 0; i < l; ++i) a[k * size + l] -= a[k * size + i] * a[l * size + i];
      a[k * size + l] /= a[l * size + l];
    }
    const double least = a[k * size + k] * 1e-6 + ridge;
    for (size_t i = 0; i < k; ++i) a[k * size + k] -= a[k * size + i] * a[k * size + i];
    a[k * size + k] = std::sqrt(std::max(a[k * size + k], least));
    for (size_t l = 0; l < k; ++l) v[k] -= a[k * size + l] * v[l];
    v[k] /= a[k * size + k];
  }
  for (size_t k = size; k-- > 0;) {
    for (size_t l = k + 1; l < size; ++l) v[k] -= a[l * size + k] * v[l];
    v[k] /= a[k * size + k];
  }
}

}  // namespace

// Moments of the latents and prices of a box, and what they fit: the slope at the mean, and the
// curvature.
struct PriceFloor::Fit {
  explicit Fit(size_t dim) : mean(dim), squares(dim * dim), with_price(dim), slope(dim) {}

  // Adds the moments of a part.
  void add(const Fit& part) {
    if (part.count == 0.0) return;
    const size_t dim = mean.size();
    const double all = count + part.count, share = part.count / all;
    const double weight = count * share, off = part.price - price;
    for (size_t k = 0; k < dim; ++k) {
      const double a = part.mean[k] - mean[k];
      for (size_t l = 0; l <= k; ++l) {
        squares[k * dim + l] += part.squares[k * dim + l] + weight * a * (part.mean[l] - mean[l]);
      }
      with_price[k] += part.with_price[k] + weight * a * off;
    }
    for (size_t k = 0; k < dim; ++k) mean[k] += share * (part.mean[k] - mean[k]);
    price += share * off;
    count = all;
  }

  double ridge() const {
    const size_t dim = mean.size();
    double trace = 0.0;
    for (size_t k = 0; k < dim; ++k) trace += squares[k * dim + k];
    return kRidge * trace / static_cast<double>(dim) + 1e-300;
  }

  double count = 0.0, price = 0.0;  // the mean price
  std::vector<double> mean;
  // Sums of products of differences to the means: [dim][dim], the lower triangle, and [dim].
  std::vector<double> squares, with_price;
  std::vector<double> slope;
  double curvature = 0.0;
};

PriceFloor::PriceFloor(const DirectionTree& tree)
    : tree_(tree), on_floor_(tree.leaf_count() * kLeafLatents, 0.0) {
  for (size_t level = 0; level < tree.levels(); ++level) {
    const int64_t slots = tree.groups(level) * kGroupBoxes;
    levels_.emplace_back(tree.groups(level) * group_floats(), 0.0f);
    above_.emplace_back(slots, 0.0);
    for (int64_t slot = 0; slot < slots; ++slot) {
      rest(level, slot) = kFar;
      set_box(level, slot);
    }
  }
}

// Centre and half width of a box; nothing of an empty one.
void PriceFloor::set_box(size_t level, int64_t slot) {
  const float* box = tree_.group(level, slot / kGroupBoxes) + slot % kGroupBoxes;
  float* own = lane(level, slot);
  if (!(box[0] < kFar)) return;
  for (int64_t k = 0; k < tree_.dim(); ++k, box += 2 * kGroupBoxes, own += 3 * kGroupBoxes) {
    const auto low = static_cast<double>(box[0]), high = static_cast<double>(box[kGroupBoxes]);
    own[0] = static_cast<float>(0.5 * (low + high));
    const auto middle = static_cast<double>(own[0]);
    own[kGroupBoxes] = round_up(std::max(high - middle, middle - low));
  }
}

void PriceFloor::fit(const std::vector<double>& price, Parallel& parallel) {
  const size_t dim = tree_.dim();
  const size_t last = tree_.levels() - 1;
  std::vector<Fit> below(tree_.leaf_count(), Fit(dim));
  parallel.run(tree_.leaf_count(), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const double* prices = price.data() + slot * kLeafLatents;
      fit_leaf(slot, prices, below[slot]);
      set_shape(last, slot, below[slot]);
      set_on_floor(slot);
      rest(last, slot) = rest_of_leaf(slot, prices);
    }
  });
  for (size_t level = last; level > 0; --level) {
    const int64_t groups = tree_.groups(level);
    std::vector<Fit> here(groups, Fit(dim));
    parallel.run(groups, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t g = begin; g < end; ++g) {
        const int64_t first = g * kGroupBoxes;
        const int64_t beyond = std::min(first + kGroupBoxes, std::ssize(below));
        Fit& all = here[g];
        for (int64_t slot = first; slot < beyond; ++slot) all.add(below[slot]);
        all.slope = all.with_price;
        solve(all.squares, dim, all.ridge(), all.slope);
        double bend = 0.0, apart = 0.0;
        for (int64_t slot = first; slot < beyond; ++slot) {
          const Fit& child = below[slot];
          for (size_t k = 0; k < dim; ++k) {
            const double off = child.mean[k] - all.mean[k];
            bend += child.count * off * (child.slope[k] - all.slope[k]);
            apart += child.count * off * off;
          }
        }
        all.curvature = apart > 0.0 ? bend / apart : 0.0;
        set_shape(level - 1, g, all);
        for (int64_t slot = first; slot < beyond; ++slot) set_above(level, slot);
        rest(level - 1, g) = rest_of_group(level, g);
      }
    });
    below.swap(here);
  }
  std::vector<float> steepest(dim, 0.0f);
  for (const auto& level : levels_) {
    for (size_t at = 0; at < level.size(); at += group_floats()) {
      for (size_t k = 0; k < dim; ++k) {
        const float* slopes = &level[at + (3 * k + 2) * kGroupBoxes];
        for (int i = 0; i < kGroupBoxes; ++i)
          steepest[k] = std::max(steepest[k], std::fabs(slopes[i]));
      }
    }
  }
  steepness_ = 0.0;
  for (const float most : steepest) steepness_ += static_cast<double>(most);
}

void PriceFloor::fit_leaf(int64_t slot, const double* price, Fit& fit) const {
  const DirectionTree::Leaf& leaf = tree_.leaf(slot);
  const size_t dim = tree_.dim();
  if (leaf.live == 0) return;
  fit.count = leaf.live;
  for (int32_t i = 0; i < leaf.live; ++i) fit.price += price[i];
  fit.price /= fit.count;
  // Rows are kept less the mean of the leaf.
  std::copy_n(leaf.centre(), dim, fit.mean.begin());
  float above[kLeafLatents], half_square[kLeafLatents] = {};
  float middle = 0.0f;
  for (int32_t i = 0; i < leaf.live; ++i) above[i] = static_cast<float>(price[i] - fit.price);
  for (size_t k = 0; k < dim; ++k) {
    const float* w = tree_.offsets(slot) + k * kLeafLatents;
    for (int32_t i = 0; i < leaf.live; ++i) half_square[i] += 0.5f * w[i] * w[i];
  }
  for (int32_t i = 0; i < leaf.live; ++i) middle += half_square[i];
  for (int32_t i = 0; i < leaf.live; ++i) half_square[i] -= middle / static_cast<float>(leaf.live);
  // Half the squares are fitted as one coordinate more.
  const size_t size = dim + 1;
  std::vector<double> a(size * size), v(size);
  const auto column = [&](size_t k) {
    return k < dim ? tree_.offsets(slot) + k * kLeafLatents : half_square;
  };
  const auto dot = [&](const float* b, const float* c) {
    float sum = 0.0f;
    for (int32_t i = 0; i < leaf.live; ++i) sum += b[i] * c[i];
    return static_cast<double>(sum);
  };
  for (size_t k = 0; k < size; ++k) {
    for (size_t l = 0; l <= k; ++l) a[k * size + l] = dot(column(k), column(l));
    v[k] = dot(column(k), above);
  }
  for (size_t k = 0; k < dim; ++k) {
    for (size_t l = 0; l <= k; ++l) fit.squares[k * dim + l] = a[k * size + l];
    fit.with_price[k] = v[k];
  }
  solve(a, size, fit.ridge() * 1e-2, v);
  fit.curvature = v[dim];
  if (!(fit.curvature > 0.0)) {
    fit.curvature = 0.0;
    v = fit.with_price;
    solve(fit.squares, dim, fit.ridge(), v);
  }
  std::copy_n(v.begin(), dim, fit.slope.begin());
}

void PriceFloor::set_shape(size_t level, int64_t slot, const Fit& fit) {
  const int64_t dim = tree_.dim();
  float* own = lane(level, slot);
  double bend = fit.curvature;
  if (!(bend >= kLeastCurvature)) bend = kLeastCurvature;
  const auto curvature = static_cast<float>(std::min(bend, kMostCurvature));
  for (int64_t k = 0; k < dim; ++k, own += 3 * kGroupBoxes) {
    const double at_centre =
        fit.slope[k] + static_cast<double>(curvature) * (static_cast<double>(own[0]) - fit.mean[k]);
    const bool finite = std::fabs(at_centre) <= kSteepest;
    own[2 * kGroupBoxes] = static_cast<float>(finite ? at_centre : 0.0);
  }
  own[0] = curvature;
  own[kGroupBoxes] = 1.0f / curvature;
}

void PriceFloor::set_on_floor(int64_t slot) {
  const DirectionTree::Leaf& leaf = tree_.leaf(slot);
  const float* own = lane(levels_.size() - 1, slot);
  const double curvature = static_cast<double>(own[3 * tree_.dim() * kGroupBoxes]);
  double* on_floor = on_floor_.data() + slot * kLeafLatents;
  std::fill_n(on_floor, leaf.live, 0.0);
  double steepest = 0.0;
  for (int64_t k = 0; k < tree_.dim(); ++k, own += 3 * kGroupBoxes) {
    const double shift = leaf.centre()[k] - static_cast<double>(own[0]);
    const double slope = static_cast<double>(own[2 * kGroupBoxes]);
    const double reach = std::fabs(slope) + curvature * static_cast<double>(own[kGroupBoxes]);
    steepest += reach;
    const float* w = tree_.offsets(slot) + k * kLeafLatents;
    for (int32_t i = 0; i < leaf.live; ++i) {
      const double t = shift + static_cast<double>(w[i]);
      on_floor[i] += t * (slope + 0.5 * curvature * t);
    }
  }
  // Offsets are rounded: the leaf's error is more than that, for a slope of 1.
  for (int32_t i = 0; i < leaf.live; ++i) on_floor[i] += steepest * leaf.error;
}

void PriceFloor::set_above(size_t level, int64_t slot) {
  const int64_t dim = tree_.dim();
  const float* own = lane(level, slot);
  const float* box = lane(level - 1, slot / kGroupBoxes);
  const auto bend = static_cast<double>(own[3 * dim * kGroupBoxes]);
  const auto bend_of_box = static_cast<double>(box[3 * dim * kGroupBoxes]);
  double least = 0.0, size = 0.0;
  for (int64_t k = 0; k < dim; ++k, own += 3 * kGroupBoxes, box += 3 * kGroupBoxes) {
    const double off = static_cast<double>(own[0]) - static_cast<double>(box[0]);
    const auto half = static_cast<double>(own[kGroupBoxes]);
    const auto slope = static_cast<double>(own[2 * kGroupBoxes]);
    const auto slope_of_box = static_cast<double>(box[2 * kGroupBoxes]);
    const auto difference = [&](double t) {
      const double u = t + off;
      const double a = t * (slope + 0.5 * bend * t), b = u * (slope_of_box + 0.5 * bend_of_box * u);
      size += std::fabs(a) + std::fabs(b);
      return a - b;
    };
    double at_least = std::min(difference(-half), difference(half));
    if (bend > bend_of_box) {
      const double t = (slope_of_box + bend_of_box * off - slope) / (bend - bend_of_box);
      if (std::fabs(t) < half) at_least = std::min(at_least, difference(t));
    }
    least += at_least;
  }
  above_[level][slot] = least - size * 1e-14;
}

float PriceFloor::rest_of_leaf(int64_t slot, const double* price) const {
  const double* on_floor = on_floor_.data() + slot * kLeafLatents;
  double least = std::numeric_limits<double>::infinity();
  for (int32_t i = 0; i < tree_.leaf(slot).live; ++i) {
    least = std::min(least, price[i] - on_floor[i]);
  }
  return round_down(least - std::fabs(least) * 1e-15);
}

float PriceFloor::rest_of_group(size_t level, int64_t group) {
  double least = std::numeric_limits<double>::infinity();
  for (int64_t slot = group * kGroupBoxes; slot < (group + 1) * kGroupBoxes; ++slot) {
    least = std::min(least, static_cast<double>(rest(level, slot)) + above_[level][slot]);
  }
  return round_down(least - std::fabs(least) * 1e-15);
}

void PriceFloor::lift(int32_t position, double before, const double* price) {
  int64_t slot = position / kLeafLatents;
  // Most prices do not lie on the floor. Its rest is rounded down.
  const auto least = static_cast<double>(rest(levels_.size() - 1, slot));
  if (before - on_floor_[position] > least + std::fabs(least) * 0x1p-22) return;
  float now = rest_of_leaf(slot, price);
  for (size_t level = levels_.size(); level-- > 0;) {
    float& known = rest(level, slot);
    if (known == now) return;
    known = now;
    if (level == 0) return;
    slot /= kGroupBoxes;
    now = rest_of_group(level, slot);
  }
}

}  // namespace gtn
