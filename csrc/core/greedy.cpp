#include "core/greedy.hpp"

#include <algorithm>
#include <functional>

namespace gtn {
namespace {
constexpr int64_t kFirstWindow = 128;  // learns what lists are good for here
constexpr int64_t kSmallestWindow = 32;
constexpr int64_t kDeepest = 256;  // longer lists cost more than smaller windows
// Best latents a list should certify: spare ones beyond the cone serve conflicts inside a window.
constexpr int64_t base_depth(int64_t cone) {
  return cone + cone / 2 + 3;
}
}  // namespace

Greedy::Greedy(Pool& pool, int64_t cone, Parallel& parallel, Stats& stats)
    : pool_(pool),
      cone_(cone),
      parallel_(parallel),
      stats_(stats),
      depth_(base_depth(cone)),
      window_limit_(pool.largest_window()) {}

int64_t Greedy::window_size() const {
  // Conflicts grow with the share of the free latents that a window takes.
  const int64_t most = stats_.windows == 0 ? kFirstWindow : window_limit_;
  return std::clamp<int64_t>(pool_.free() / pool_.window_share(), kSmallestWindow, most);
}

void Greedy::run(std::span<const SourceRow> sources, const std::vector<double>& norms,
                 int64_t start, OnPair on_pair, FunctionRef<void(int64_t)> on_window) {
  const int64_t n = std::ssize(sources);
  for (int64_t begin = start; begin < n;) {
    const int64_t size = std::min(window_size(), n - begin);
    queries_.clear();
    for (const SourceRow row : sources.subspan(begin, size)) queries_.push_back({row, norms[row]});
    pool_.open(queries_, depth_);
    walk(begin, on_pair);
    pool_.close();
    adapt();
    ++stats_.windows;
    begin += decided_;
    on_window(begin);
    parallel_.poll_if_due();
  }
}

void Greedy::walk(int64_t begin, OnPair on_pair) {
  PhaseTimer timer(stats_.seconds.walk);
  decided_ = searched_ = 0;
  passed_.clear();
  // Past this, lists are too short for the conflicts of the window: the rest starts a new one.
  const int64_t most_searches = pool_.bearable_searches(std::ssize(queries_));
  for (size_t i = 0; i < queries_.size(); ++i) {
    const Pool::Taken taken = pool_.take(i);
    stats_.conflicts += taken.conflict;
    searched_ += taken.searched;
    if (taken.passed >= 0) passed_.push_back(taken.passed);
    on_pair(begin + decided_++, taken.latent, taken.score);
    if (searched_ > most_searches) break;
  }
  stats_.rescans += searched_;
}

// Sources that ask for the same latents (equal sources, hubs, sources that see the latents from one
// side) exhaust their lists inside a window: longer lists, then smaller windows, until searches
// again are rare. Both relax only when conflicts do, or they would swing.
void Greedy::adapt() {
  const int64_t size = std::ssize(queries_), largest = pool_.largest_window();
  const auto halve = [&] {
    window_limit_ = std::max(kSmallestWindow, std::min(window_limit_, size) / 2);
  };
  const auto widen = [&] { window_limit_ = std::min(largest, window_limit_ + window_limit_ / 8); };
  if (pool_.cheap_alone()) {
    // Longer lists are not worth it: smaller windows are, once threads wait for the walk.
    if (4 * searched_ > size) {
      halve();
    } else if (8 * searched_ < size) {
      widen();
    }
    return;
  }
  const int64_t base = base_depth(cone_);
  const int64_t deepest = pool_.long_lists_pay() ? std::min(kDeepest + cone_, base + size) : base;
  const int64_t bearable = 1 + size / 64;  // searches again
  if (searched_ > bearable) {
    if (depth_ < deepest) {
      depth_ = std::min(2 * depth_, deepest);
    } else {
      halve();
    }
    return;
  }
  // As deep as all but a bearable number of sources needed.
  const size_t spared = bearable - searched_;
  int64_t needed = base;
  if (passed_.size() > spared) {
    const auto at = passed_.begin() + spared;
    std::nth_element(passed_.begin(), at, passed_.end(), std::greater<>());
    needed = std::max(needed, cone_ + *at + *at / 2 + 1);
  }
  if (needed < depth_) depth_ -= std::max<int64_t>(1, (depth_ - needed) / 4);
  if (searched_ == 0 || 2 * depth_ < deepest) widen();
}

}  // namespace gtn
