// The innermost loops of a walk through a tree of directions (direction_tree.hpp), one file per
// instruction set behind plain pointers. Like kernels.hpp, this header is all that files with
// instruction-set flags may include of this project. float32 results may differ in their last bits
// between instruction sets: the bounds made from them allow for any order and fusing of operations.
#pragma once

#include <stdint.h>

namespace gtn {

enum { kLeafLatents = 64, kGroupBoxes = 16 };

struct TreeKernel {
  // Writes the squared distances of a point from the 16 boxes of a group, [dim][lowest, highest]
  // [16]; returns a bit for each box within the limit. An empty box is at infinity.
  uint32_t (*near_boxes)(const float* boxes, const float* point, int64_t dim, float limit,
                         float* squared);
  // Finds the first `live` latents of a leaf, [dim][64], whose inner product with the point is at
  // least `least`; writes products and places (with room for 64 + 16) and returns their number.
  int32_t (*leaf_hits)(const float* offsets, const float* point, int64_t dim, int32_t live,
                       float least, float* products, int32_t* places);
  // The same loops where latents have prices. Writes the most that a latent of each of 16 boxes
  // gives a point by its bound (price_floor.hpp); returns a bit for each that is at least `least`.
  // The rest of an empty box is infinite.
  uint32_t (*far_boxes)(const float* group, const float* point, int64_t dim, float least,
                        float* values);
  // leaf_hits for products less prices [64]; writes the products.
  int32_t (*priced_hits)(const float* offsets, const float* prices, const float* point, int64_t dim,
                         int32_t live, float least, float* products, int32_t* places);
  // Costs in panels of 64 latents that the scan of the same instructions goes through: of a leaf or
  // a group, mostly waiting for memory, and of what the scan does once for each source.
  double visit_panels, source_panels;
};

// Portable C++.
extern const TreeKernel tree_kernel_portable;

}  // namespace gtn
