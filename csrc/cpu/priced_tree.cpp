#include "cpu/priced_tree.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/shortlist.hpp"
#include "core/unit_vectors.hpp"
#include "cpu/divider.hpp"
#include "cpu/float_bounds.hpp"

namespace gtn {
namespace {

constexpr float kNoEmptyBox = std::numeric_limits<float>::lowest();  // their value is -infinity
// Rounding of thresholds against bounds, in cosines.
constexpr double kThresholdSlack = 1e-14;
// More latents than this within rounding of one another: the list is cut and certifies nothing.
constexpr size_t kMostItems = 4096;
constexpr int64_t kSourcesPerTask = 16;
// Cost of a leaf or a group, mostly waiting for memory, in panels of 64 scanned latents.
constexpr double kPanelsPerVisit = 5;
constexpr int64_t kTried = 32;  // sources tried

}  // namespace

class PricedTree::Walk {
 public:
  explicit Walk(const PricedTree& owner)
      : owner_(owner), row_(owner.scorer_.latents().dim), point_(row_.size()) {}
  void run(SourceRow source, double guess, int64_t depth, CandidateList& list);
  int64_t seen = 0;  // leaves and groups

 private:
  void visit(size_t level, int64_t group);
  void score(int64_t slot);
  void raise_threshold(double lower);

  const PricedTree& owner_;
  CandidateList* list_ = nullptr;
  std::vector<double> row_;     // the source
  std::vector<float> point_;    // the same in float32
  std::vector<double> lowers_;  // the `depth` largest lower bounds, a heap with the least on top
  size_t depth_ = 1;
  float products_[kLeafLatents + 16];
  int32_t places_[kLeafLatents + 16];
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
  // No coordinate of a latent is above 1. The source, each difference to a slope, each product and
  // each addition are rounded.
  sum += owner_.floor_.steepness();
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
  float values[kGroupBoxes];
  ++seen;
  // A value is a difference to a price, which is rounded as well.
  const float bar = std::max(
      round_down(threshold_ - 2.0 * slack_ - std::fabs(threshold_) * 0x1p-22), kNoEmptyBox);
  uint32_t far = owner_.kernel_.far_boxes(owner_.floor_.group(level, group), point_.data(),
                                          tree.dim(), bar, values);
  // The furthest first: the sooner the threshold rises, the more is skipped.
  int32_t children[kGroupBoxes];
  int count = 0;
  for (; far; far &= far - 1) {
    const auto lane = static_cast<int32_t>(__builtin_ctz(far));
    int at = count++;
    for (; at > 0 && values[children[at - 1]] < values[lane]; --at) children[at] = children[at - 1];
    children[at] = lane;
  }
  const bool last = level + 1 == tree.levels();
  for (int c = 0; c < count; ++c) {
    const auto value = static_cast<double>(values[children[c]]);
    if (value + slack_ + std::fabs(value) * 0x1p-22 < threshold_) continue;
    const int64_t child = group * kGroupBoxes + children[c];
    last ? score(child) : visit(level + 1, child);
  }
}

void PricedTree::Walk::score(int64_t slot) {
  const DirectionTree& tree = owner_.tree_;
  const DirectionTree::Leaf& leaf = tree.leaf(slot);
  ++seen;
  const double base = product(row_.data(), leaf.centre(), tree.dim());
  const float bar = round_down(threshold_ - base + owner_.base_[slot] - 1.125 * leaf.error);
  const int64_t first = slot * kLeafLatents;
  const int32_t hits =
      owner_.kernel_.priced_hits(tree.offsets(slot), owner_.above_base_.data() + first,
                                 point_.data(), tree.dim(), leaf.live, bar, products_, places_);
  for (int32_t h = 0; h < hits; ++h) {
    const int32_t lane = places_[h];
    const double middle = base + static_cast<double>(products_[h]) - owner_.price_[first + lane];
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
                       PriceView prices, const TreeKernel& kernel, Parallel& parallel)
    : scorer_(scorer),
      grid_(grid),
      prices_(prices),
      kernel_(kernel),
      parallel_(parallel),
      free_(distinct),
      unit_(scorer.latents().length * scorer.sources().length),
      tree_(scorer, free_, parallel),
      price_(tree_.leaf_count() * kLeafLatents, 0.0),
      base_(tree_.leaf_count(), 0.0),
      above_base_(price_.size(), 0.0f),
      floor_(tree_),
      guesses_(scorer.sources(), grid) {
  for (LatentId id = 0; id < distinct.count(); ++id) {
    price_[tree_.position(id)] = cosine(prices.of(id));
  }
  fit();
  for (int t = 0; t < parallel.threads(); ++t) walks_.push_back(std::make_unique<Walk>(*this));
}

PricedTree::~PricedTree() = default;

float PricedTree::above_base(int64_t position) const {
  return round_down(price_[position] - base_[position / kLeafLatents]);
}

// Fits what bounds prices to them.
void PricedTree::fit() {
  for (int64_t slot = 0; slot < tree_.leaf_count(); ++slot) {
    const int64_t first = slot * kLeafLatents, live = tree_.leaf(slot).live;
    base_[slot] = *std::min_element(&price_[first], &price_[first] + live);
    for (int64_t at = first; at < first + live; ++at) above_base_[at] = above_base(at);
  }
  floor_.fit(price_, parallel_);
  raised_ = 0;
}

void PricedTree::raised(std::span<const LatentId> ids) {
  for (const LatentId id : ids) {
    const int32_t position = tree_.position(id);
    const double before = price_[position];
    price_[position] = cosine(prices_.of(id));
    above_base_[position] = above_base(position);
    floor_.lift(position, before, &price_[position / kLeafLatents * kLeafLatents]);
  }
  raised_ += std::ssize(ids);
  if (raised_ >= tree_.live()) fit();
}

// A value that the listed latents reach for another source.
double PricedTree::sure_value(SourceRow source, const PricedList& list) const {
  const void* rows[kLeafLatents];
  double dots[kLeafLatents];
  double least = kInfinity;
  const size_t length = list.items.size();
  for (size_t from = 0; from < length; from += kLeafLatents) {
    const size_t count = std::min<size_t>(kLeafLatents, length - from);
    for (size_t i = 0; i < count; ++i)
      rows[i] = scorer_.latent(free_.distinct().row(list.items[from + i].id));
    scorer_.dots(rows, static_cast<int64_t>(count), source, dots);
    for (size_t i = 0; i < count; ++i) {
      least = std::min(least, dots[i] / unit_ - price_[tree_.position(list.items[from + i].id)]);
    }
  }
  return least - 4.0 * kThresholdSlack;
}

void PricedTree::search(std::span<const SourceRow> sources, std::span<const int64_t> before,
                        int64_t depth, std::span<PricedList> lists) {
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
    Walk& way = *walks_[thread];
    const PricedList* neighbour = nullptr;
    for (int64_t i = begin; i < end; ++i) {
      const size_t at = order[i];
      double sure = -kInfinity;
      if (neighbour && std::ssize(neighbour->items) >= depth) {
        sure = sure_value(sources[at], *neighbour);
      }
      double guess =
          before[at] == kNothing ? -kInfinity : guesses_.of(sources[at], before[at]) / unit_;
      if (!(guess > sure)) guess = sure;
      way.run(sources[at], guess, depth, list);
      set_list(list, depth, unit_, grid_, prices_, lists[at]);
      if (guess > sure && PricedGuesses::too_short(lists[at], depth)) {
        way.run(sources[at], sure, depth, list);
        set_list(list, depth, unit_, grid_, prices_, lists[at]);
      }
      neighbour = &lists[at];
    }
  };
  if (count < kSourcesPerTask) {
    walk(0, count, 0);
  } else {
    parallel_.run(count, kSourcesPerTask, walk);
  }
  guesses_.learn(sources, before, lists);
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
