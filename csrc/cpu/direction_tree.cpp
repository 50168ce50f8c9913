#include "cpu/direction_tree.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>

#include "cpu/divider.hpp"
#include "cpu/float_bounds.hpp"

namespace gtn {
namespace {

constexpr float kFar = std::numeric_limits<float>::infinity();
constexpr int64_t kFill = 62;      // most latents of a leaf when built: sizes vary by one
constexpr int64_t kSubtrees = 64;  // below, one thread builds a subtree

struct Range {
  int64_t begin, end;  // of slots
};

// The number of leaves: the root's children, times 16 a level.
int64_t leaves_for(int64_t n) {
  int64_t below = 1;  // leaves of a child of the root
  while (n > kGroupBoxes * below * kFill) below *= kGroupBoxes;
  return below * std::max<int64_t>(1, (n + below * kFill - 1) / (below * kFill));
}

}  // namespace

void DirectionTree::FreeDeleter::operator()(std::byte* p) const {
  std::free(p);
}

int64_t DirectionTree::bytes_for(int64_t n, int64_t dim) {
  const int64_t leaves = leaves_for(n);
  const int64_t leaf = head_bytes(dim) + kLeafLatents * (4 * dim + 4);
  const int64_t boxes = 8 * dim + dim;  // of the leaf, and its share of those above
  const int64_t building = n * (4 * dim + 12);
  return leaves * (leaf + boxes) + 4 * n + building;
}

int64_t DirectionTree::bytes() const {
  return bytes_for(built_, dim_);
}

DirectionTree::DirectionTree(const Scorer& scorer, const FreeLatents& free, Parallel& parallel)
    : scorer_(scorer),
      distinct_(free.distinct()),
      dim_(scorer.latents().dim),
      leaf_bytes_(head_bytes(dim_) + 4 * kLeafLatents * dim_) {
  std::vector<LatentId> ids;
  ids.reserve(free.ids());
  for (LatentId id = 0; id < distinct_.count(); ++id) {
    if (free.is_free(id)) ids.push_back(id);
  }
  live_ = built_ = std::ssize(ids);
  leaf_count_ = leaves_for(built_);

  for (int64_t slots = leaf_count_; boxes_.empty() || slots > 1;) {
    slots = (slots + kGroupBoxes - 1) / kGroupBoxes;
    boxes_.emplace(boxes_.begin(), slots * group_floats(), kFar);
  }
  const size_t bytes = leaf_count_ * leaf_bytes_;
  leaves_.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  if (!leaves_) throw std::bad_alloc();
  std::memset(leaves_.get(), 0, bytes);
  ids_.resize(leaf_count_ * kLeafLatents);
  position_of_.assign(distinct_.count(), -1);
  fill_leaves(ids, parallel);
  for (size_t level = boxes_.size() - 1; level > 0; --level) {
    for (int64_t g = 0; g < groups(level); ++g) shrink_group(level, g);
  }
}

void DirectionTree::fill_leaves(const std::vector<LatentId>& ids, Parallel& parallel) {
  const size_t dim = dim_;
  std::vector<float> units(ids.size() * dim);
  parallel.run(built_, 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim);
    for (int64_t i = begin; i < end; ++i) {
      const LatentId id = ids[i];
      widen_row(scorer_.latents(), distinct_.row(id), v.data());
      float* unit = &units[i * dim];
      const double length = length_of(id);
      for (size_t k = 0; k < dim; ++k) unit[k] = static_cast<float>(v[k] / length);
    }
  });
  Divider divider(std::move(units), dim_);
  const auto first = [&](int64_t slot) { return built_ * slot / leaf_count_; };
  // Divides the latents of a range of slots in two, each a whole number of children of its node.
  const auto halve = [&](const Range& r) {
    int64_t child = 1;
    while (child * kGroupBoxes < r.end - r.begin) child *= kGroupBoxes;
    const int64_t middle = r.begin + (r.end - r.begin) / child / 2 * child;
    divider.divide(first(r.begin), first(middle), first(r.end));
    return middle;
  };
  const std::function<void(const Range&)> halve_all = [&](const Range& r) {
    if (r.end - r.begin < 2) return;
    const int64_t middle = halve(r);
    halve_all({r.begin, middle});
    halve_all({middle, r.end});
  };
  std::vector<Range> ranges = {{0, leaf_count_}};
  while (std::ssize(ranges) < std::min(kSubtrees, leaf_count_)) {
    std::vector<Range> halves(2 * ranges.size());
    parallel.run(std::ssize(ranges), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const Range r = ranges[i];
        const int64_t middle = r.end - r.begin < 2 ? r.end : halve(r);
        halves[2 * i] = {r.begin, middle};
        halves[2 * i + 1] = {middle, r.end};
      }
    });
    ranges.clear();
    for (const Range& r : halves) {
      if (r.begin < r.end) ranges.push_back(r);
    }
  }
  parallel.run(std::ssize(ranges), 1, [&](int64_t begin, int64_t end, int) {
    std::vector<int32_t> members;
    for (int64_t i = begin; i < end; ++i) {
      halve_all(ranges[i]);
      for (int64_t slot = ranges[i].begin; slot < ranges[i].end; ++slot) {
        members.clear();
        for (int64_t at = first(slot); at < first(slot + 1); ++at) {
          members.push_back(ids[divider.row(at)]);
        }
        fill_leaf(slot, members);
      }
    }
  });
}

void DirectionTree::fill_leaf(int64_t slot, std::span<const LatentId> ids) {
  const size_t dim = dim_;
  const size_t at = slot;
  Leaf& head = leaf_at(slot);
  double* centre = reinterpret_cast<double*>(&head + 1);
  std::vector<double> v(ids.size() * dim);
  for (size_t i = 0; i < ids.size(); ++i) {
    widen_row(scorer_.latents(), distinct_.row(ids[i]), &v[i * dim]);
    const double length = length_of(ids[i]);
    for (size_t k = 0; k < dim; ++k) {
      v[i * dim + k] /= length;
      centre[k] += v[i * dim + k];
    }
  }
  for (size_t k = 0; k < dim; ++k) centre[k] /= static_cast<double>(ids.size());
  double radius = 0.0;
  float* offsets = offsets_at(slot);
  for (size_t i = 0; i < ids.size(); ++i) {
    double squared = 0.0;
    for (size_t k = 0; k < dim; ++k) {
      const double w = v[i * dim + k] - centre[k];
      squared += w * w;
      offsets[k * kLeafLatents + i] = static_cast<float>(w);
    }
    radius = std::max(radius, squared);
    ids_[at * kLeafLatents + i] = ids[i];
    position_of_[ids[i]] = static_cast<int32_t>(at * kLeafLatents + i);
  }
  head.live = static_cast<int32_t>(ids.size());
  // Rounding of w, of the source and of dim products and sums in float32, each relative to |w|;
  // float64 on the way.
  const double d = static_cast<double>(dim_);
  head.error = (d + 8.0) * 0x1p-23 * std::sqrt(radius) + d * 2e-38 + 4.0 * rounding_slack(dim_);
  shrink_leaf(slot);
}

bool DirectionTree::set_box(size_t level, int64_t slot, const float* lowest, const float* highest) {
  float* group = boxes_[level].data() + slot / kGroupBoxes * group_floats();
  const int64_t lane = slot % kGroupBoxes;
  bool changed = false;
  for (int64_t k = 0; k < dim_; ++k) {
    float& low = group[2 * k * kGroupBoxes + lane];
    float& high = group[(2 * k + 1) * kGroupBoxes + lane];
    changed = changed || low != lowest[k] || high != highest[k];
    low = lowest[k];
    high = highest[k];
  }
  return changed;
}

// Fits the box of a leaf to its latents, and the boxes above to those below.
void DirectionTree::shrink_leaf(int64_t slot) {
  const Leaf& l = leaf(slot);
  std::vector<float> lowest(dim_, kFar), highest(lowest.size(), kFar);
  for (int64_t k = 0; k < dim_ && l.live > 0; ++k) {
    const float* w = offsets(slot) + k * kLeafLatents;
    float low = w[0], high = w[0];
    for (int32_t i = 1; i < l.live; ++i) {
      low = std::min(low, w[i]);
      high = std::max(high, w[i]);
    }
    lowest[k] = round_down(l.centre()[k] + static_cast<double>(low) - l.error);
    highest[k] = round_up(l.centre()[k] + static_cast<double>(high) + l.error);
  }
  set_box(boxes_.size() - 1, slot, lowest.data(), highest.data());
}

// Fits the box of a group, in the level above, to the boxes in it. An empty box begins at infinity.
bool DirectionTree::shrink_group(size_t level, int64_t group) {
  std::vector<float> lowest(dim_), highest(lowest.size());
  const float* boxes = this->group(level, group);
  for (size_t k = 0; k < lowest.size(); ++k) {
    const float* low = boxes + 2 * k * kGroupBoxes;
    const float* high = low + kGroupBoxes;
    float least = kFar, most = -kFar;
    for (int lane = 0; lane < kGroupBoxes; ++lane) {
      least = std::min(least, low[lane]);
      most = std::max(most, low[lane] == kFar ? -kFar : high[lane]);
    }
    lowest[k] = least;
    highest[k] = least == kFar ? kFar : most;
  }
  return set_box(level - 1, group, lowest.data(), highest.data());
}

// Asks memory for what the removal of a latent reads.
void DirectionTree::fetch(int32_t position) const {
  if (position < 0) return;
  const int64_t slot = position / kLeafLatents;
  __builtin_prefetch(&leaf(slot));
  const float* w = offsets(slot) + position % kLeafLatents;
  const float* box = group(boxes_.size() - 1, slot / kGroupBoxes);
  for (int64_t k = 0; k < dim_; ++k, w += kLeafLatents, box += 2 * kGroupBoxes) {
    __builtin_prefetch(w);
    __builtin_prefetch(box);
    __builtin_prefetch(box + kGroupBoxes);
  }
}

// True if the box of its leaf may be smaller without this latent.
bool DirectionTree::holds_box(int64_t slot, int64_t lane) const {
  const Leaf& l = leaf(slot);
  const float* box = group(boxes_.size() - 1, slot / kGroupBoxes) + slot % kGroupBoxes;
  const float* w = offsets(slot) + lane;
  for (int64_t k = 0; k < dim_; ++k) {
    const double v = l.centre()[k] + static_cast<double>(w[k * kLeafLatents]);
    // The box is wider than its latents by the error and a rounding.
    const double margin = 2.0 * l.error + 0x1p-23;
    if (v - margin <= static_cast<double>(box[2 * k * kGroupBoxes]) ||
        v + margin >= static_cast<double>(box[(2 * k + 1) * kGroupBoxes])) {
      return true;
    }
  }
  return false;
}

void DirectionTree::remove(std::span<const LatentId> ids, Parallel& parallel) {
  dirty_.clear();
  // Leaves lie far apart: their memory is asked for some removals ahead.
  constexpr size_t kAhead = 8;
  for (size_t i = 0; i < ids.size() + kAhead; ++i) {
    if (i < ids.size()) fetch(position_of_[ids[i]]);
    if (i < kAhead) continue;
    const LatentId id = ids[i - kAhead];
    const int32_t position = position_of_[id];
    if (position < 0) continue;
    const int64_t slot = position / kLeafLatents;
    const int64_t hole = position % kLeafLatents;
    const bool dirty = holds_box(slot, hole);
    const int64_t last = --leaf_at(slot).live;
    if (dirty || last == 0) dirty_.push_back(slot);
    float* w = offsets_at(slot);
    for (int64_t k = 0; k < dim_; ++k, w += kLeafLatents) w[hole] = w[last];
    int32_t* members = &ids_[slot * kLeafLatents];
    members[hole] = members[last];
    position_of_[members[hole]] = position;
    position_of_[id] = -1;
    --live_;
  }
  const auto drop_repeats = [&] {
    std::sort(dirty_.begin(), dirty_.end());
    dirty_.erase(std::unique(dirty_.begin(), dirty_.end()), dirty_.end());
  };
  drop_repeats();
  parallel.run(std::ssize(dirty_), 128, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) shrink_leaf(dirty_[i]);
  });
  for (size_t level = boxes_.size() - 1; level > 0; --level) {
    for (int64_t& slot : dirty_) slot /= kGroupBoxes;
    drop_repeats();
    std::erase_if(dirty_, [&](int64_t group) { return !shrink_group(level, group); });
  }
}

}  // namespace gtn
