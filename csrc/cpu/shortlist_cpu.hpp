// The CPU backend's Shortlist: integer codes (codes.hpp), scan kernels (kernels.hpp) and scans
// (scan.hpp) shared out among threads; guesses for the next window learnt from the last. Starts
// with the coarse int8 codes and moves to int16 when lists grow so long that the finer, slower
// arithmetic is cheaper.
#pragma once

#include <memory>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "cpu/codes.hpp"
#include "cpu/kernels.hpp"
#include "cpu/scan.hpp"

namespace gtn {

class CpuShortlist final : public Shortlist {
 public:
  // The coarsest codes of any use in that dimension.
  static Arithmetic coarsest(int64_t dim);

  // int16_allowed: whether the memory budget has room for codes of twice the size.
  CpuShortlist(const Scorer& scorer, const FreeLatents& free, const Kernel& kernel,
               bool int16_allowed, Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;
  void describe(Stats& stats) const override;

 private:
  const ScanKernel& scan_kernel() const {
    return codes_->arithmetic() == Arithmetic::int8 ? kernel_.int8 : kernel_.int16;
  }
  void code_sources(std::span<const Query> queries);
  void scan_all(const ScanSettings& settings, std::span<CandidateList> lists);
  void learn();
  void choose_arithmetic(std::span<const CandidateList> lists);

  const Scorer& scorer_;
  const FreeLatents& free_;
  const Kernel& kernel_;
  bool int16_allowed_;
  Parallel& parallel_;
  std::unique_ptr<LatentCodes> codes_;

  // Initial threshold for the next window: a low quantile, over the last window's sources, of the
  // depth-th best cosine minus the cosine with the nearest cell centre. A source that no latent
  // above the threshold certifies is searched again without a guess.
  double guess_ = -kInfinity;
  double guess_quantile_ = 0.25;
  double caution_ = 0.0;  // scan.hpp
  int64_t missed_ = 0;    // sources of the last window that had to be searched again

  // State of the current search.
  std::vector<CodedSource> sources_;
  std::vector<std::byte> source_codes_;
  std::vector<double> bases_;
  std::vector<Scanned> scanned_;  // by query
  std::vector<double> reached_;   // by source: thresholds above levels
  std::vector<Scan> scans_;       // by thread
};

}  // namespace gtn
