// Plain C++ loops of a walk through a tree, which compilers vectorise for whatever the baseline is.
#include "cpu/tree_kernels.hpp"

namespace gtn {
namespace {

uint32_t near_boxes(const float* boxes, const float* point, int64_t dim, float limit,
                    float* squared) {
  float sum[kGroupBoxes] = {};
  for (int64_t k = 0; k < dim; ++k, boxes += 2 * kGroupBoxes) {
    const float p = point[k];
    for (int lane = 0; lane < kGroupBoxes; ++lane) {
      const float below = boxes[lane] - p;
      const float above = p - boxes[kGroupBoxes + lane];
      const float outside = below > above ? below : above;
      const float gap = outside > 0.0f ? outside : 0.0f;
      sum[lane] += gap * gap;
    }
  }
  uint32_t near = 0;
  for (int lane = 0; lane < kGroupBoxes; ++lane) {
    squared[lane] = sum[lane];
    near |= static_cast<uint32_t>(sum[lane] <= limit) << lane;
  }
  return near;
}

template <bool Priced>
int32_t hits_of(const float* offsets, const float* prices, const float* point, int64_t dim,
                int32_t live, float least, float* products, int32_t* places) {
  constexpr int kLanes = 16;
  int32_t hits = 0;
  for (int32_t base = 0; base < live; base += kLanes) {
    float sum[kLanes] = {};
    for (int64_t k = 0; k < dim; ++k) {
      const float* w = offsets + k * kLeafLatents + base;
      for (int lane = 0; lane < kLanes; ++lane) sum[lane] += w[lane] * point[k];
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      float value = sum[lane];
      if constexpr (Priced) value -= prices[base + lane];
      products[hits] = sum[lane];
      places[hits] = base + lane;
      hits += value >= least && base + lane < live;
    }
  }
  return hits;
}

int32_t leaf_hits(const float* offsets, const float* point, int64_t dim, int32_t live, float least,
                  float* products, int32_t* places) {
  return hits_of<false>(offsets, nullptr, point, dim, live, least, products, places);
}

uint32_t far_boxes(const float* group, const float* point, int64_t dim, float least,
                   float* values) {
  float sum[kGroupBoxes] = {};
  const float* bend = group + 3 * dim * kGroupBoxes;
  const float* reciprocal = bend + kGroupBoxes;
  const float* rest = reciprocal + kGroupBoxes;
  for (int64_t k = 0; k < dim; ++k, group += 3 * kGroupBoxes) {
    const float p = point[k];
    for (int lane = 0; lane < kGroupBoxes; ++lane) {
      const float off = p - group[2 * kGroupBoxes + lane];
      const float d = off < 0.0f ? -off : off;
      const float top = d * reciprocal[lane], half = group[kGroupBoxes + lane];
      const float t = top < half ? top : half;
      sum[lane] += p * group[lane] + t * (d - 0.5f * bend[lane] * t);
    }
  }
  uint32_t far = 0;
  for (int lane = 0; lane < kGroupBoxes; ++lane) {
    values[lane] = sum[lane] - rest[lane];
    far |= static_cast<uint32_t>(values[lane] >= least) << lane;
  }
  return far;
}

int32_t priced_hits(const float* offsets, const float* prices, const float* point, int64_t dim,
                    int32_t live, float least, float* products, int32_t* places) {
  return hits_of<true>(offsets, prices, point, dim, live, least, products, places);
}

}  // namespace

extern const TreeKernel tree_kernel_portable;
const TreeKernel tree_kernel_portable = {near_boxes, leaf_hits, far_boxes, priced_hits, 5.0, 100.0};

}  // namespace gtn
