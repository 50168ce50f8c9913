// The FAISS backend's Shortlist: exhaustive inner-product search, whose float32 scores become
// bounds (unit_rows.hpp). FAISS promises neither which of two near scores it prefers nor that a
// score is the same in another batch, so only this is relied on: a row that was not returned was
// not computed to score above one that was, and every computed score lies within the error of the
// truth.
//
// Taken latents are masked here, not by FAISS, whose selectors are slow on the CPU and ignored by
// its GPU indexes: rows that FAISS reads where they are stay dense, a copy is
// rebuilt when enough of it is gone, and until then taken rows are dropped from the lists.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "faiss/block_search.hpp"
#include "faiss/unit_rows.hpp"

namespace gtn {

class FaissShortlist final : public Shortlist {
 public:
  FaissShortlist(const Scorer& scorer, const FreeLatents& free, InnerProductIndex& index,
                 Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;
  void describe(Stats& stats) const override;

 private:
  // Makes the rows of what is free now.
  void renew();
  void add(const BlockSearch::Found& found, std::span<const Query> queries,
           std::span<CandidateList> lists) const;

  const Scorer& scorer_;
  const FreeLatents& free_;
  InnerProductIndex& index_;
  Parallel& parallel_;
  std::optional<UnitRows> rows_;
  BlockSearch blocks_;
  int64_t gone_ = 0;           // rows of the index's copy that are no longer free
  UnitRows::Queries queries_;  // of the search at hand
};

}  // namespace gtn
