// PricedGuesses: thresholds from which searches with prices start, learnt from earlier ones. A
// guess that is too high makes a list too short, which is then searched again without one.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/contract.hpp"
#include "core/priced_search.hpp"

namespace gtn {

class PricedGuesses {
 public:
  PricedGuesses(const Rows& sources, const ScoreGrid& grid) : sources_(sources), grid_(grid) {}

  // The score less price that some `depth` latents are likely to reach, NaN if nothing is known.
  // before: the bound `outside` of the list that the source had, kNothing if it had none.
  double of(SourceRow source, int64_t before) const {
    return before == kNothing ? first_ * norm(source) : grid_.real(before) - drop_;
  }
  bool any(int64_t before) const { return !std::isnan(before == kNothing ? first_ : drop_); }
  static bool too_short(const PricedList& list, int64_t depth) {
    return std::ssize(list.items) < std::max<int64_t>(2, depth / 8);
  }
  // Learns guesses that nine in ten of these lists would have met.
  void learn(std::span<const SourceRow> sources, std::span<const int64_t> before,
             std::span<const PricedList> lists);

 private:
  double norm(SourceRow row) const { return std::sqrt(squared_norm(sources_, row)); }

  Rows sources_;
  const ScoreGrid& grid_;
  // Of sources without a list, per norm of the source; of others, below the bound that they had.
  double first_ = std::numeric_limits<double>::quiet_NaN();
  double drop_ = std::numeric_limits<double>::quiet_NaN();
};

}  // namespace gtn
