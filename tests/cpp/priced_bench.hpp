// A search of optimal transport beside exact scores: prices rise, and every list is held to its
// promise. For every backend's search.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "core/parallel.hpp"
#include "core/priced_search.hpp"
#include "core/transport_group.hpp"
#include "reference.hpp"

namespace priced {

using reference::Kind;

inline constexpr int64_t kSources = 20;

struct Bench {
  reference::Data x, y;
  gtn::Parallel parallel{2};
  gtn::TransportRows rows;
  gtn::TransportGroup group;
  gtn::Prices prices;
  std::mt19937_64 random{5};

  Bench(Kind kind, int64_t n, int64_t dim)
      : x(reference::make(kind, n, dim, 21)),
        y(reference::make(Kind::gaussian, n, dim, 22)),
        rows(x.rows("latents"), y.rows("sources"), false, gtn::exact_portable, nullptr, parallel),
        group(rows, {reference::all_rows(n), reference::all_rows(n)}, parallel),
        prices(group.distinct, group.first_prices) {}

  // Raises latents of one half-space by up to `most` times the largest score, others by a
  // thousandth of that: prices of neighbours are near each other, as in a run.
  void raise_prices(gtn::PricedSearch& search, double most) {
    const double largest = static_cast<double>(group.grid.of(group.x.norm * group.y.norm)) * most;
    const int64_t axis = static_cast<int64_t>(random() % static_cast<uint64_t>(x.dim));
    std::vector<gtn::LatentId> ids;
    for (gtn::LatentId id = 0; id < group.distinct.count(); ++id) {
      if (random() % 3 == 0) continue;
      const double share = static_cast<double>(random() >> 11) * 0x1p-53;
      const bool up = x.at(group.distinct.row(id), axis) > rows.mean[axis];
      const double by = largest * (up ? 0.9 + 0.1 * share : 0.001 * share);
      const int64_t price = prices.of(id) + static_cast<int64_t>(by);
      if (price <= prices.of(id)) continue;
      while (prices.of(id) < price) prices.sell(id, price, gtn::kNobody);
      ids.push_back(id);
    }
    search.raised(ids);
  }

  void check(gtn::PricedSearch& search, std::vector<int64_t>& before, int64_t depth = 8) {
    std::vector<gtn::SourceRow> sources(kSources);
    for (int64_t i = 0; i < kSources; ++i) sources[i] = static_cast<gtn::SourceRow>(i);
    std::vector<gtn::PricedList> lists(kSources);
    search.search(sources, before, depth, lists);
    int64_t wrong = 0, short_lists = 0;
    for (int64_t i = 0; i < kSources; ++i) {
      std::vector<const gtn::PricedCandidate*> listed(group.distinct.count(), nullptr);
      for (const gtn::PricedCandidate& c : lists[i].items) listed[c.id] = &c;
      for (gtn::LatentId id = 0; id < group.distinct.count(); ++id) {
        const int64_t score =
            group.grid.of(group.scorer.score(group.distinct.row(id), 1.0, sources[i]));
        if (listed[id] != nullptr) {
          wrong += listed[id]->score < score;
        } else {
          const int64_t value = score - prices.of(id);
          wrong +=
              value > lists[i].outside || (value == lists[i].outside && id <= lists[i].outside_id);
        }
      }
      short_lists += std::ssize(lists[i].items) < std::min<int64_t>(depth, group.distinct.count());
      before[i] = lists[i].outside;
    }
    CHECK(wrong == 0);
    CHECK(short_lists < kSources / 2);  // a list of nothing would promise nothing
  }
};

}  // namespace priced
