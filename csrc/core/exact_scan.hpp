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
  void remove(std::span<const int32_t> ids) override;

 private:
  void search_batch(std::span<const Query> queries, int64_t depth, std::span<CandidateList> lists);

  const Scorer& scorer_;
  const FreeLatents& free_;
  Parallel& parallel_;
  int64_t chunk_;                  // latents a task
  std::vector<int32_t> ids_;       // free ids, in no particular order
  std::vector<int32_t> position_;  // by id
};

}  // namespace gtn
