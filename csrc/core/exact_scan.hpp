// ExactScan: the Shortlist that needs no codes. It scores every free latent with the contract's
// arithmetic and lists the best in the contract's order. Used where few latents are free, and for
// sources that an approximate shortlist cannot certify.
#pragma once

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"

namespace gtn {

class ExactScan final : public Shortlist {
 public:
  ExactScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;

 private:
  class Best;
  struct Panels;
  void search_batch(std::span<const Query> queries, size_t keep, std::span<CandidateList> lists);
  void scan_rows(std::span<const Query> queries, std::span<const LatentId> ids, Best* best) const;
  void scan_panels(std::span<const Query> queries, std::span<const LatentId> ids,
                   const std::vector<double>& sources, Panels& panels, Best* best) const;

  const Scorer& scorer_;
  const FreeLatents& free_;
  Parallel& parallel_;
  int64_t chunk_;              // latents a task
  std::vector<LatentId> ids_;  // free ids, ascending; some may have been removed since
  int64_t live_ = 0;
};

}  // namespace gtn
