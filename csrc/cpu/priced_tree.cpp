#include "cpu/priced_tree.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/shortlist.hpp"
#include "core/unit_vectors.hpp"
#include "cpu/divider.hpp"

namespace gtn {
namespace {

constexpr float kFar = std::numeric_limits<float>::infinity();
// Rounding of thresholds against bounds, in cosines.
constexpr double kThresholdSlack = 1e-14;
// More latents than this within rounding of one another: the list is cut and certifies nothing.
constexpr size_t kMostItems = 4096;
constexpr int64_t kSourcesPerTask = 16;
// Cost of a leaf or a group, mostly waiting for memory, in panels of 64 scanned latents.
constexpr double kPanelsPerVisit = 5;
constexpr int64_t kTried = 32;  // sources tried

float round_down(double v) {
  const float f = static_cast<float>(v);
  return static_cast<double>(f) > v ? std::nextafter(f, -kFar) : f;
}

// The largest <point, x> of each box of a group, [dim][lowest, highest][16].
void reach_of_boxes(const float* boxes, const float* point, int64_t dim, float* reach) {
  for (int lane = 0; lane < kGroupBoxes; ++lane) reach[lane] = 0.0f;
  for (int64_t k = 0; k < dim; ++k, boxes += 2 * kGroupBoxes) {
    const float p = point[k];
    const float* side = p < 0.0f ? boxes : boxes + kGroupBoxes;
    for (int lane = 0; lane < kGroupBoxes; ++lane) reach[lane] += p * side[lane];
  }
}

}  // namespace

class PricedTree::Walk {
 public:
  explicit Walk(const PricedTree& owner)
      : owner_(owner), row_(owner.scorer_.latents().dim), point_(row_.size()) {}
  void run(SourceRow source, double guess, int64_t depth, CandidateList& list);
  int64_t seen = 0;  // leaves and groups

 private:
  struct Child {
    float reach;
    int32_t lane;
  };
  void visit(size_t level, int64_t group);
  void score(int64_t slot);
  void raise_threshold(double lower);

  const PricedTree& owner_;
  CandidateList* list_ = nullptr;
  std::vector<double> row_;     // the source
  std::vector<float> point_;    // the same in float32
  std::vector<double> lowers_;  // the `depth` largest lower bounds, a heap with the least on top
  size_t depth_ = 1;
  double slack_ = 0.0;      // float32 rounding of a box's reach
  double threshold_ = 0.0;  // latents whose upper bound is below are of no interest
};

void PricedTree::Walk::run(SourceRow source, double guess, int64_t depth, CandidateList& list) {
  list_ = &list;
  depth_ = depth;
  lowers_.clear();
  list.clear();
  unit_row(owner_.scorer_.sources(), source, row_.data());
  double sum = 0.0;
  for (size_t k = 0; k < row_.size(); ++k) {
    point_[k] = static_cast<float>(row_[k]);
    sum += std::fabs(row_[k]);
  }
  // No coordinate of a latent is above 1. The source, each product and each addition are rounded.
  slack_ = sum * static_cast<double>(row_.size() + 8) * 0x1p-23;
  threshold_ = guess;
  visit(0, 0);
  std::erase_if(list.items, [&](const Candidate& c) { return c.upper < threshold_; });
  list.outside = threshold_ + kThresholdSlack;
}

void PricedTree::Walk::raise_threshold(double lower) {
  if (lowers_.size() == depth_) {
    if (lower <= lowers_.front()) return;
    std::pop_heap(lowers_.begin(), lowers_.end(), std::greater<>());
    lowers_.back() = lower;
  } else {
    lowers_.push_back(lower);
  }
  std::push_heap(lowers_.begin(), lowers_.end(), std::greater<>());
  if (lowers_.size() == depth_) threshold_ = std::max(threshold_, lowers_.front());
}

void PricedTree::Walk::visit(size_t level, int64_t group) {
  const DirectionTree& tree = owner_.tree_;
  float reach[kGroupBoxes];
  ++seen;
  reach_of_boxes(tree.group(level, group), point_.data(), tree.dim(), reach);
  const float* least = owner_.least_[level].data() + group * kGroupBoxes;
  // The furthest first: the sooner the threshold rises, the more is skipped.
  Child children[kGroupBoxes];
  int count = 0;
  const auto bar = static_cast<float>(threshold_ - 2.0 * slack_);
  for (int32_t lane = 0; lane < kGroupBoxes; ++lane) {
    if (least[lane] == kFar) continue;  // empty
    const float value = reach[lane] - least[lane];
    if (value < bar) continue;
    int at = count++;
    for (; at > 0 && children[at - 1].reach < value; --at) children[at] = children[at - 1];
    children[at] = {value, lane};
  }
  const bool last = level + 1 == tree.levels();
  for (int c = 0; c < count; ++c) {
    // The difference to the price is rounded as well.
    const double value = static_cast<double>(children[c].reach);
    if (value + slack_ + std::fabs(value) * 0x1p-22 < threshold_) continue;
    const int64_t child = group * kGroupBoxes + children[c].lane;
    last ? score(child) : visit(level + 1, child);
  }
}

void PricedTree::Walk::score(int64_t slot) {
  const DirectionTree& tree = owner_.tree_;
  const DirectionTree::Leaf& leaf = tree.leaf(slot);
  ++seen;
  const double base = product(row_.data(), leaf.centre(), tree.dim());
  const float* offsets = tree.offsets(slot);
  float sums[kLeafLatents] = {};
  for (int64_t k = 0; k < tree.dim(); ++k) {
    const float p = point_[k];
    for (int lane = 0; lane < kLeafLatents; ++lane)
      sums[lane] += p * offsets[k * kLeafLatents + lane];
  }
  const double* prices = owner_.price_.data() + slot * kLeafLatents;
  for (int32_t lane = 0; lane < leaf.live; ++lane) {
    const double middle = base + static_cast<double>(sums[lane]) - prices[lane];
    if (middle + leaf.error < threshold_) continue;
    list_->items.push_back({tree.ids(slot)[lane], middle + leaf.error});
    raise_threshold(middle - leaf.error);
  }
  if (list_->items.size() > kMostItems) {
    auto& items = list_->items;
    std::erase_if(items, [&](const Candidate& c) { return c.upper < threshold_; });
    if (items.size() <= kMostItems / 2) return;
    const auto keep = items.begin() + kMostItems / 4;
    std::nth_element(items.begin(), keep, items.end(),
                     [](const Candidate& a, const Candidate& b) { return a.upper > b.upper; });
    threshold_ = std::max(threshold_, std::nextafter(keep->upper, kInfinity));
    std::erase_if(items, [&](const Candidate& c) { return c.upper < threshold_; });
  }
}

PricedTree::PricedTree(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                       const Prices& prices, Parallel& parallel)
    : scorer_(scorer),
      grid_(grid),
      prices_(prices),
      parallel_(parallel),
      free_(distinct),
      unit_(scorer.latents().length * scorer.sources().length),
      tree_(scorer, free_, parallel),
      price_(tree_.leaf_count() * kLeafLatents, 0.0) {
  for (size_t level = 0; level < tree_.levels(); ++level) {
    least_.emplace_back(tree_.groups(level) * kGroupBoxes, kFar);
  }
  for (LatentId id = 0; id < distinct.count(); ++id) {
    price_[tree_.position(id)] = cosine(prices.of(id));
  }
  for (int64_t slot = 0; slot < tree_.leaf_count(); ++slot) lift(slot);
  for (int t = 0; t < parallel.threads(); ++t) walks_.push_back(std::make_unique<Walk>(*this));
}

PricedTree::~PricedTree() = default;

// Sets the least price of a leaf, and of the boxes above it as far as that changes them.
void PricedTree::lift(int64_t slot) {
  const DirectionTree::Leaf& leaf = tree_.leaf(slot);
  const double* prices = price_.data() + slot * kLeafLatents;
  double least = std::numeric_limits<double>::infinity();
  for (int32_t lane = 0; lane < leaf.live; ++lane) least = std::min(least, prices[lane]);
  float now = leaf.live > 0 ? round_down(least) : kFar;
  for (size_t level = tree_.levels(); level-- > 0;) {
    float& known = least_[level][slot];
    if (known == now) return;
    known = now;
    slot /= kGroupBoxes;
    const float* group = least_[level].data() + slot * kGroupBoxes;
    now = *std::min_element(group, group + kGroupBoxes);
  }
}

void PricedTree::raised(std::span<const LatentId> ids) {
  for (const LatentId id : ids) {
    const int32_t position = tree_.position(id);
    price_[position] = cosine(prices_.of(id));
    lift(position / kLeafLatents);
  }
}

void PricedTree::search(std::span<const SourceRow> sources, std::span<const int64_t>, int64_t depth,
                        std::span<PricedList> lists) {
  const int64_t count = std::ssize(sources);
  const size_t dim = scorer_.latents().dim;
  std::vector<int32_t> order(sources.size());
  if (count > kSourcesPerTask) {  // neighbours in turn: they meet the same leaves
    std::vector<float> points(sources.size() * dim);
    parallel_.run(count, 256, [&](int64_t begin, int64_t end, int) {
      std::vector<double> row(dim);
      for (int64_t i = begin; i < end; ++i) {
        unit_row(scorer_.sources(), sources[i], row.data());
        for (size_t k = 0; k < dim; ++k) points[i * dim + k] = static_cast<float>(row[k]);
      }
    });
    Divider divider(std::move(points), static_cast<int64_t>(dim));
    divider.divide_all(0, count, 4);
    for (int64_t i = 0; i < count; ++i) order[i] = divider.row(i);
  } else {
    for (int64_t i = 0; i < count; ++i) order[i] = static_cast<int32_t>(i);
  }
  const auto walk = [&](int64_t begin, int64_t end, int thread) {
    CandidateList list;
    for (int64_t i = begin; i < end; ++i) {
      const size_t at = order[i];
      walks_[thread]->run(sources[at], -kInfinity, depth, list);
      set_list(list, depth, unit_, grid_, prices_, lists[at]);
    }
  };
  if (count < kSourcesPerTask) {
    walk(0, count, 0);
  } else {
    parallel_.run(count, kSourcesPerTask, walk);
  }
}

bool PricedTree::worthwhile() {
  const int64_t rows = scorer_.sources().count;
  const int64_t count = std::min(kTried, rows);
  CandidateList list;
  for (int64_t i = 0; i < count; ++i) {
    walks_[0]->run(static_cast<SourceRow>(rows * i / count), -kInfinity, 32, list);
  }
  const double seen = static_cast<double>(walks_[0]->seen) / static_cast<double>(count);
  return kPanelsPerVisit * seen < static_cast<double>(tree_.live()) / 64.0;
}

}  // namespace gtn
