// LocalChooser: the Chooser of latents on this machine. Each source keeps a list of its best
// latents, which is only a cache: a source whose list no longer certifies its best two is searched
// again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/auction_stats.hpp"
#include "core/chooser.hpp"
#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/exact_priced_scan.hpp"
#include "core/parallel.hpp"
#include "core/price_view.hpp"
#include "core/priced_search.hpp"
#include "core/score_grid.hpp"
#include "core/source_lists.hpp"

namespace gtn {

class LocalChooser final : public Chooser {
 public:
  // Lists hold `depth` latents, and up to `longest` where sources are searched again and again.
  // search: the backend's. exact: certifies everything.
  LocalChooser(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
               std::span<const SourceRow> sources, PriceView prices, PricedSearch& search,
               ExactPricedScan& exact, int64_t depth, int64_t longest, Parallel& parallel,
               AuctionStats& stats);

  void choose(std::span<const int32_t> sources, bool second_too,
              std::vector<Choice>& choices) override;
  std::vector<int64_t> scores(std::span<const int32_t> sources,
                              std::span<const LatentId> ids) override;
  void raised(std::span<const LatentId> ids) override { search_.raised(ids); }

 private:
  // False if the list does not certify the choice; `second_too`: its second best as well.
  bool look(int32_t source, bool second_too, Choice& choice);
  void look_at(std::span<const int32_t> sources, bool second_too, std::vector<Choice>& choices,
               std::vector<uint8_t>& sure);
  void add_likely(std::vector<int32_t>& again);
  enum class Effort { usual, longer, all };
  void rescan(std::span<const int32_t> sources, Effort effort);
  void tell_level();
  void lengthen();
  bool longer_fits() const;
  bool bounds_help() const;
  void judge_bounds(int64_t asked, int64_t failed);
  int64_t exact_score(int32_t source, LatentId id) const;

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  const DistinctLatents& distinct_;
  std::span<const SourceRow> sources_;
  PriceView prices_;
  PricedSearch& search_;
  ExactPricedScan& exact_;
  Parallel& parallel_;
  AuctionStats& stats_;
  int64_t told_level_;  // of the spares, when the search was last told of prices

  SourceLists lists_;
  int64_t longest_;
  int64_t searched_ = 0;  // sources, with lists of this length
  // Sources that a backend's bounds were tried on, and those that these could not certify.
  int64_t tried_ = 0, failed_ = 0;
};

}  // namespace gtn
