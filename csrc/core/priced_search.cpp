#include "core/priced_search.hpp"

#include <algorithm>

namespace gtn {

void set_list(CandidateList& found, int64_t depth, double unit, const ScoreGrid& grid,
              const Prices& prices, PricedList& list) {
  list.clear();
  auto& items = found.items;
  std::sort(items.begin(), items.end(),
            [](const Candidate& a, const Candidate& b) { return a.upper > b.upper; });
  const size_t keep = std::min<size_t>(depth, items.size());
  double outside = found.outside;
  if (keep < items.size()) outside = std::max(outside, items[keep].upper);
  list.outside = outside == -kInfinity ? kNothing : grid.above(outside * unit);
  for (size_t t = 0; t < keep; ++t) {
    const LatentId id = items[t].id;
    list.items.push_back({id, grid.above(items[t].upper * unit) + prices.of(id), false});
  }
}

}  // namespace gtn
