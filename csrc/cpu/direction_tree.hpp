// A k-d tree over the directions of the free latents, for data that few dimensions describe: a
// search looks at a few leaves instead of at everything. Here: building, removal and the numbers
// that bound scores. shortlist_tree.hpp walks the tree.
//
// Leaves hold up to 64 latents as float32 differences w = x/|x| - c to the leaf's own centre c, so
// that scores keep their resolution however tight a leaf is:
//   |<y/|y|, x/|x|> - (<y/|y|, c> + <y/|y|, w>)| <= error(leaf)
// Inner nodes are groups of 16 boxes (float32, rounded outwards) around the unit latents below
// them. Unit vectors at a distance of D or more have a cosine of at most 1 - D^2 / 2. Boxes shrink
// as latents are removed, so that a search never walks into regions where none is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "cpu/tree_kernels.hpp"

namespace gtn {

class DirectionTree {
 public:
  DirectionTree(const Scorer& scorer, const FreeLatents& free, Parallel& parallel);

  int64_t dim() const { return dim_; }
  int64_t live() const { return live_; }
  int64_t built() const { return built_; }  // latents that the tree was made of
  void remove(std::span<const LatentId> ids, Parallel& parallel);
  int64_t bytes() const;
  static int64_t bytes_for(int64_t n, int64_t dim);

  // Levels of groups, the root's first. The slot of a child is group * 16 + its place in the group;
  // a slot is the group of that number in the next level, or the leaf in the last level.
  size_t levels() const { return boxes_.size(); }
  // [dim][lowest, highest][16]
  const float* group(size_t level, int64_t group) const {
    return boxes_[level].data() + group * group_floats();
  }
  int64_t groups(size_t level) const { return std::ssize(boxes_[level]) / group_floats(); }
  int64_t leaf_count() const { return leaf_count_; }
  int64_t group_floats() const { return dim_ * 2 * kGroupBoxes; }

  // The part of a leaf that a walk reads, together in memory.
  struct Leaf {
    double error;
    int32_t live;
    const double* centre() const { return reinterpret_cast<const double*>(this + 1); }  // [dim]
  };
  const Leaf& leaf(int64_t slot) const {
    return *reinterpret_cast<const Leaf*>(leaves_.get() + slot * leaf_bytes_);
  }
  // [dim][64]
  const float* offsets(int64_t slot) const {
    return reinterpret_cast<const float*>(leaves_.get() + slot * leaf_bytes_ + head_bytes(dim_));
  }
  const int32_t* ids(int64_t slot) const { return ids_.data() + slot * kLeafLatents; }
  // leaf * 64 + lane
  int32_t position(LatentId id) const { return position_of_[id]; }

 private:
  struct FreeDeleter {
    void operator()(std::byte* p) const;
  };
  void fill_leaves(const std::vector<LatentId>& ids, Parallel& parallel);
  static int64_t head_bytes(int64_t dim) {
    return (static_cast<int64_t>(sizeof(Leaf)) + 8 * dim + 63) / 64 * 64;
  }
  Leaf& leaf_at(int64_t slot) {
    return *reinterpret_cast<Leaf*>(leaves_.get() + slot * leaf_bytes_);
  }
  float* offsets_at(int64_t slot) {
    return reinterpret_cast<float*>(leaves_.get() + slot * leaf_bytes_ + head_bytes(dim_));
  }
  double length_of(LatentId id) const {
    const double all = scorer_.latents().length;
    return all > 0.0 ? all : distinct_.norm(id);
  }
  void fill_leaf(int64_t slot, std::span<const LatentId> ids);
  void fetch(int32_t position) const;
  bool holds_box(int64_t slot, int64_t lane) const;
  void shrink_leaf(int64_t slot);
  bool shrink_group(size_t level, int64_t group);
  bool set_box(size_t level, int64_t slot, const float* lowest, const float* highest);

  const Scorer& scorer_;
  const DistinctLatents& distinct_;
  int64_t dim_;
  int64_t live_ = 0, built_ = 0;
  std::vector<std::vector<float>> boxes_;
  int64_t leaf_bytes_, leaf_count_ = 0;
  std::unique_ptr<std::byte[], FreeDeleter> leaves_;  // 64-byte aligned, each a head and offsets
  std::vector<LatentId> ids_;                         // [leaves][64]
  std::vector<int32_t> position_of_;  // by id: leaf * 64 + lane, -1 if not in the tree
  std::vector<int64_t> dirty_;        // leaves whose boxes may be too large
};

}  // namespace gtn
