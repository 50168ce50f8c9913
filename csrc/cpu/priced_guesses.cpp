#include "cpu/priced_guesses.hpp"

#include <vector>

namespace gtn {
namespace {

constexpr size_t kEnough = 64;  // lists to learn from

double quantile(std::vector<double>& values, double q) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

void PricedGuesses::learn(std::span<const SourceRow> sources, std::span<const int64_t> before,
                          std::span<const PricedList> lists) {
  if (sources.size() < kEnough) return;
  std::vector<double> first, drops;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (lists[i].outside == kNothing) continue;
    const double outside = grid_.real(lists[i].outside);
    if (before[i] == kNothing) {
      const double length = norm(sources[i]);
      if (length > 0.0) first.push_back(outside / length);
    } else {
      drops.push_back(grid_.real(before[i]) - outside);
    }
  }
  if (first.size() >= kEnough) first_ = quantile(first, 0.1);
  if (drops.size() >= kEnough) drop_ = quantile(drops, 0.9);
}

}  // namespace gtn
