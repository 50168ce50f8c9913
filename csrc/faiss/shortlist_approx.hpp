// The approximate Shortlist: takes the rows that a FAISS index finds for all there are. It breaks
// the promise of shortlist.hpp on purpose, and match_approx alone makes it: a list with a free
// latent in it claims that no other latent matters. Pairs stay one to one, as the engine alone
// gives latents out, and the best of a list is found by exact scores; but a latent that the index
// missed is missed. The cost is measured afterwards (core/audit.hpp).
//
// A source whose list runs out, and the last latents, which no index finds well, are searched
// exactly.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/match.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "faiss/block_search.hpp"
#include "faiss/unit_rows.hpp"

namespace gtn {

class ApproxShortlist final : public Shortlist {
 public:
  // index: one that copies rows. exact: the backend that searches where the index does not.
  ApproxShortlist(const Scorer& scorer, const FreeLatents& free, InnerProductIndex& index,
                  const Backend& exact, Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;
  void describe(Stats& stats) const override;

 private:
  void load();
  Shortlist& exact(std::span<const Query> queries);
  bool few_left() const;

  const Scorer& scorer_;
  const FreeLatents& free_;
  InnerProductIndex& index_;
  const Backend& make_exact_;
  Parallel& parallel_;
  int64_t all_;  // ids when the index was first made
  std::optional<UnitRows> rows_;
  int64_t gone_ = 0;  // of the index's rows, no longer free
  BlockSearch blocks_;
  UnitRows::Queries queries_;         // of the search at hand
  std::unique_ptr<Shortlist> exact_;  // made when first needed
};

}  // namespace gtn
