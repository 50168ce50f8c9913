// The promise of the search interface of optimal transport, checked against exact scores while
// prices rise: listed scores are upper bounds, and no latent that is not listed has more than
// `outside`.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "cpu/priced_cpu.hpp"
#include "cpu/priced_tree.hpp"
#include "priced_bench.hpp"
#include "sets_to_test.hpp"

using priced::Bench;
using priced::kSources;
using reference::Kind;

TEST_CASE("optimal transport: lists keep their promise while prices rise") {
  for (const Kind kind : {Kind::gaussian, Kind::tight_clusters, Kind::heavy, Kind::repeated}) {
    for (const int64_t dim : {3, 24}) {
      CAPTURE(dim);
      for (const gtn::InstructionSet& set : sets_to_test()) {
        CAPTURE(set.name);
        for (const bool tree : {false, true}) {
          Bench bench(kind, 2200, dim);  // enough for cells
          std::unique_ptr<gtn::PricedSearch> search;
          if (tree) {
            search = std::make_unique<gtn::PricedTree>(bench.group.scorer, bench.group.grid,
                                                       bench.group.distinct, bench.prices,
                                                       *set.tree, bench.parallel);
          } else {
            search = std::make_unique<gtn::PricedCpuSearch>(bench.group.scorer, bench.group.grid,
                                                            bench.group.distinct, bench.prices,
                                                            set.scan, bench.parallel);
          }
          std::vector<int64_t> before(kSources, gtn::kNothing);
          // From far below what digits hold to far above.
          for (const double most : {0.0, 1e-4, 0.01, 1.0, 30.0}) {
            bench.raise_prices(*search, most);
            bench.check(*search, before);
          }
          const bool narrow = !tree && dim > 8;  // int8 first
          CHECK(search->refine() == narrow);
          bench.check(*search, before);
          CHECK(!search->refine());
        }
      }
    }
  }
}
