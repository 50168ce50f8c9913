// The CPU's PricedSearch: the codes, kernels and scans of the greedy search (codes.hpp, scan.hpp)
// with prices in the codes. No row is a unit vector here: all are divided by one length.
#pragma once

#include <memory>
#include <vector>

#include "core/optimal.hpp"
#include "cpu/codes.hpp"
#include "cpu/instruction_sets.hpp"
#include "cpu/priced_guesses.hpp"
#include "cpu/scan.hpp"

namespace gtn {

class PricedCpuSearch final : public PricedSearch {
 public:
  // scorer: with lengths for latents and sources (Rows::length).
  PricedCpuSearch(const Scorer& scorer, const ScoreGrid& grid, const DistinctLatents& distinct,
                  PriceView prices, const Kernel& kernel, Parallel& parallel);

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId> ids) override;
  bool refine() override;
  // A search for one waits for memory where the codes leave the cache.
  bool cheap_alone() const override { return codes_->bytes() < int64_t{1} << 20; }

 private:
  void search_some(std::span<const SourceRow> sources, std::span<const double> guesses,
                   int64_t depth, std::span<PricedList> lists);
  double largest_of_sources() const;
  void make_codes(Arithmetic arithmetic);
  double cosine(int64_t price) const { return grid_.real(price) / unit_; }

  const Scorer& scorer_;
  const ScoreGrid& grid_;
  PriceView prices_;
  const Kernel& kernel_;
  Parallel& parallel_;
  FreeLatents free_;           // all of them
  double unit_;                // score of a cosine of 1
  std::vector<double> price_;  // by id, in cosines
  double source_step_ = 1.0;
  std::unique_ptr<PriceDigits> digits_;
  std::unique_ptr<LatentCodes> codes_;

  std::vector<CodedSource> sources_;
  std::vector<std::byte> source_codes_;
  std::vector<double> bases_;
  std::vector<Scan> scans_;  // by thread
  PricedGuesses guesses_;
};

// Makes it for optimal_rows.
PricedBackend priced_cpu_backend(const InstructionSet& set);

}  // namespace gtn
