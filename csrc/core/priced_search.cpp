#include "core/priced_search.hpp"

#include <algorithm>

namespace gtn {

void set_list(CandidateList& found, int64_t depth, double unit, const ScoreGrid& grid,
              PriceView prices, PricedList& list) {
  list.clear();
  auto& items = found.items;
  const auto above = [](const Candidate& a, const Candidate& b) { return a.upper > b.upper; };
  double outside = found.outside;
  if (std::ssize(items) > depth) {
    std::nth_element(items.begin(), items.begin() + depth, items.end(), above);
    outside = std::max(outside, items[depth].upper);
    items.resize(depth);
  }
  std::sort(items.begin(), items.end(), above);
  list.outside = outside == -kInfinity ? kNothing : grid.above(outside * unit);
  for (const Candidate& c : items) {
    list.items.push_back({c.id, grid.above(c.upper * unit) + prices.of(c.id), false});
  }
}

}  // namespace gtn
