// Searcher: searches the free latents with the backend's Shortlist, made when first needed, or with
// the exact scans: where few latents are left, in one dimension, and for a source that the
// backend's bounds cannot certify. Tells both which latents are taken.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/decide.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"
#include "core/stats.hpp"

namespace gtn {

// Makes the backend's shortlist over the latents that are free now, for these queries first.
using ShortlistFactory =
    std::function<std::unique_ptr<Shortlist>(const FreeLatents&, std::span<const Query>)>;

class Searcher {
 public:
  Searcher(const Scorer& scorer, FreeLatents& free, const ShortlistFactory& make_shortlist,
           Parallel& parallel, Stats& stats);

  // Takes the lowest free rank of an id.
  Rank take(LatentId id);
  // The one to search these queries with. Has been told what is taken.
  Shortlist& current(std::span<const Query> queries);
  // The one that certifies everything. Has been told what is taken.
  Shortlist& exact();
  // The decision for one source by itself: current(), and if that does not certify it, exact().
  // full_scans counts the latter.
  Decision choose(Query query, int64_t depth, int64_t cone, CandidateList& list,
                  int64_t& full_scans);

  // True while the backend searches.
  bool from_backend() const { return shortlist_ != nullptr; }
  // True if a search for one source costs no more than its share of a block.
  bool cheap_alone() const { return shortlist_ && shortlist_->cheap_alone(); }
  // Latents that nothing but the contract's own rounding tells apart: shortlists only cost time.
  void give_up_backend() { hopeless_ = true; }
  void flush_removals();

 private:
  void note_shortlist();

  const Scorer& scorer_;
  FreeLatents& free_;
  const ShortlistFactory& make_shortlist_;
  Parallel& parallel_;
  Stats& stats_;
  std::unique_ptr<Shortlist> shortlist_;  // the backend's; none while few latents are free
  std::unique_ptr<Shortlist> exact_;      // made when first needed
  std::vector<LatentId> exhausted_;  // ids without a free member, of which neither has been told
  bool hopeless_ = false;
};

// After a search that scores everything exactly. Without this a fault in one would go unseen.
void require_certified(const Decision& decision);

}  // namespace gtn
