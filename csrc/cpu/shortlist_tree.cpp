#include "cpu/shortlist_tree.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/unit_vectors.hpp"
#include "cpu/codes.hpp"
#include "cpu/divider.hpp"

namespace gtn {
namespace {

// Any box but an empty one, which is at infinity.
constexpr float kLargest = std::numeric_limits<float>::max();
// Rounding of thresholds against bounds, in cosines.
constexpr double kThresholdSlack = 1e-14;
// More latents than this within rounding of one another: the list is cut and certifies nothing.
constexpr size_t kMostItems = 4096;
// The tree is rebuilt once this share of its latents is left.
constexpr double kRenew = 0.5;
constexpr int64_t kSourcesPerTask = 16;
// Cost of scanning for one source alone, in shares of a window's scan.
constexpr double kScanAlone = 60.0;
constexpr int64_t kTried = 32;    // sources tried when the tree is made
constexpr double kFollow = 0.25;  // how fast the cost follows the windows'

}  // namespace

class TreeShortlist::Walk {
 public:
  Walk(const Scorer& scorer, const TreeKernel& kernel)
      : scorer_(scorer), kernel_(kernel), unit_(scorer.latents().dim), point_(unit_.size()) {}
  void run(const DirectionTree& tree, const Query& query, int64_t depth, CandidateList& list);
  int64_t leaves = 0, groups = 0;  // seen since the last window

 private:
  void visit(size_t level, int64_t group);
  void score(int64_t slot);
  void raise_threshold(double lower);
  void set_limit();

  const Scorer& scorer_;
  const TreeKernel& kernel_;
  const DirectionTree* tree_ = nullptr;
  CandidateList* list_ = nullptr;
  std::vector<double> unit_;    // the source's direction
  std::vector<float> point_;    // the same in float32
  std::vector<double> lowers_;  // the `depth` largest lower bounds, a heap with the least on top
  size_t depth_ = 1;
  float products_[kLeafLatents + 16];
  int32_t places_[kLeafLatents + 16];
  double threshold_ = 0.0;  // cosine: latents whose upper bound is below are of no interest
  float limit_ =
      kLargest;  // squared float32 distance: boxes beyond hold none that reaches the threshold
};

void TreeShortlist::Walk::run(const DirectionTree& tree, const Query& query, int64_t depth,
                              CandidateList& list) {
  tree_ = &tree;
  list_ = &list;
  depth_ = depth;
  lowers_.clear();
  list.clear();
  unit_row(scorer_.sources(), query.source_row, query.source_norm, unit_.data());
  for (size_t k = 0; k < unit_.size(); ++k) point_[k] = static_cast<float>(unit_[k]);
  threshold_ = query.floor / query.source_norm - 4.0 * kThresholdSlack;
  set_limit();
  visit(0, 0);
  const double norm = query.source_norm;
  std::erase_if(list.items, [&](const Candidate& c) { return c.upper < threshold_; });
  for (Candidate& c : list.items) c.upper *= norm;
  list.outside = (threshold_ + kThresholdSlack) * norm;
}

// Unit vectors with a cosine of the threshold or more are within sqrt(2 (1 - threshold)) of each
// other. float32 rounds the source, and each of the dim differences, squares and sums.
void TreeShortlist::Walk::set_limit() {
  const double reach = std::sqrt(std::max(0.0, 2.0 * (1.0 - threshold_) + 1e-14)) + 0x1p-23;
  const double widened = reach * reach * (1.0 + static_cast<double>(unit_.size() + 8) * 0x1p-23);
  limit_ = widened < 1e30 ? static_cast<float>(widened * (1.0 + 0x1p-22)) : kLargest;
}

void TreeShortlist::Walk::raise_threshold(double lower) {
  if (lowers_.size() == depth_) {
    if (lower <= lowers_.front()) return;
    std::pop_heap(lowers_.begin(), lowers_.end(), std::greater<>());
    lowers_.back() = lower;
  } else {
    lowers_.push_back(lower);
  }
  std::push_heap(lowers_.begin(), lowers_.end(), std::greater<>());
  if (lowers_.size() < depth_ || lowers_.front() <= threshold_) return;
  threshold_ = lowers_.front();
  set_limit();
}

void TreeShortlist::Walk::visit(size_t level, int64_t group) {
  float distance[kGroupBoxes];
  ++groups;
  uint32_t near =
      kernel_.near_boxes(tree_->group(level, group), point_.data(), tree_->dim(), limit_, distance);
  // The nearest first: the sooner the threshold rises, the more is skipped. Keys are a distance,
  // whose bits order like it, over a place.
  uint64_t children[kGroupBoxes];
  int count = 0;
  for (; near; near &= near - 1) {
    const auto lane = static_cast<unsigned>(__builtin_ctz(near));
    const uint64_t key = uint64_t{std::bit_cast<uint32_t>(distance[lane])} << 32 | lane;
    int at = count++;
    for (; at > 0 && children[at - 1] > key; --at) children[at] = children[at - 1];
    children[at] = key;
  }
  const bool last = level + 1 == tree_->levels();
  for (int c = 0; c < count; ++c) {
    if (std::bit_cast<float>(static_cast<uint32_t>(children[c] >> 32)) > limit_) return;
    const int64_t child = group * kGroupBoxes + static_cast<int64_t>(children[c] & 0xff);
    if (last) {
      score(child);
    } else {
      visit(level + 1, child);
    }
  }
}

void TreeShortlist::Walk::score(int64_t slot) {
  const DirectionTree::Leaf& leaf = tree_->leaf(slot);
  ++leaves;
  const double base = product(unit_.data(), leaf.centre(), tree_->dim());
  // Rounding this to float32 is far less than an eighth of the error where it matters.
  const auto least = static_cast<float>((threshold_ - base - leaf.error) - 0.125 * leaf.error);
  const int32_t hits = kernel_.leaf_hits(tree_->offsets(slot), point_.data(), tree_->dim(),
                                         leaf.live, least, products_, places_);
  for (int32_t h = 0; h < hits; ++h) {
    const double middle = base + static_cast<double>(products_[h]);
    if (middle + leaf.error < threshold_) continue;
    list_->items.push_back({tree_->ids(slot)[places_[h]], middle + leaf.error});
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
    set_limit();
    std::erase_if(items, [&](const Candidate& c) { return c.upper < threshold_; });
  }
}

TreeShortlist::TreeShortlist(const Scorer& scorer, const FreeLatents& free,
                             const TreeKernel& kernel, Parallel& parallel)
    : scorer_(scorer),
      free_(free),
      parallel_(parallel),
      kernel_(kernel),
      tree_(std::make_unique<DirectionTree>(scorer, free, parallel)) {
  for (int t = 0; t < parallel.threads(); ++t)
    walks_.push_back(std::make_unique<Walk>(scorer, kernel));
}

TreeShortlist::~TreeShortlist() = default;

void TreeShortlist::search(std::span<const Query> queries, int64_t depth, bool,
                           std::span<CandidateList> lists) {
  if (queries.size() == 1) {
    ++alone_;
    walks_[0]->run(*tree_, queries[0], depth, lists[0]);
    return;
  }
  // Sources of one direction in turn: they meet the same leaves, which then are in cache.
  const int64_t count = std::ssize(queries);
  const size_t dim = scorer_.latents().dim;
  std::vector<float> points(queries.size() * dim);
  parallel_.run(count, 256, [&](int64_t begin, int64_t end, int) {
    std::vector<double> unit(dim);
    for (int64_t i = begin; i < end; ++i) {
      unit_row(scorer_.sources(), queries[i].source_row, queries[i].source_norm, unit.data());
      for (size_t k = 0; k < dim; ++k) points[i * dim + k] = static_cast<float>(unit[k]);
    }
  });
  Divider divider(std::move(points), scorer_.latents().dim);
  divider.divide_all(0, count, 4);
  parallel_.run(count, kSourcesPerTask, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t at = divider.row(i);
      walks_[thread]->run(*tree_, queries[at], depth, lists[at]);
    }
  });
  // A scan for one source alone costs many times its share of a window.
  const double alone = static_cast<double>(alone_) / static_cast<double>(count);
  alone_ = 0;
  cost_ += kFollow * (cost_of_walks(count) / (1.0 + kScanAlone * alone) - cost_);
}

// Mean cost of the walks since the last call, in scans of all free latents.
double TreeShortlist::cost_of_walks(int64_t walks) {
  int64_t seen = 0;
  for (const auto& walk : walks_) {
    seen += walk->leaves + walk->groups;
    walk->leaves = walk->groups = 0;
  }
  const double scan = kernel_.source_panels + static_cast<double>(tree_->live()) / 64.0;
  return kernel_.visit_panels * static_cast<double>(seen) / static_cast<double>(walks) / scan;
}

void TreeShortlist::try_out(std::span<const Query> queries) {
  const int64_t given = std::ssize(queries);
  const int64_t count = std::min(kTried, given);
  CandidateList list;
  for (int64_t i = 0; i < count; ++i) {
    const Query& query = queries[given * i / count];
    walks_[0]->run(*tree_, {query.source_row, query.source_norm}, 1, list);
  }
  cost_ = cost_of_walks(count);
}

void TreeShortlist::remove(std::span<const LatentId> ids) {
  tree_->remove(ids, parallel_);
  if (static_cast<double>(tree_->live()) < kRenew * static_cast<double>(tree_->built())) {
    tree_.reset();
    tree_ = std::make_unique<DirectionTree>(scorer_, free_, parallel_);
  }
}

void TreeShortlist::describe(Stats& stats) const {
  stats.arithmetic = "float32";
  stats.work_bytes += tree_->bytes();
}

}  // namespace gtn
