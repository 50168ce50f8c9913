// SourceLists: the lists of latents that an auction keeps for its sources, a cache of searches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/priced_search.hpp"

namespace gtn {

class SourceLists {
 public:
  SourceLists(int64_t sources, int64_t depth);

  struct List {
    // An id is stored as ~id while its score is an upper bound.
    std::span<int32_t> ids;
    std::span<int64_t> scores;
    int64_t outside;
    LatentId outside_id;
  };
  List of(int32_t source);
  // The bound of the list, kNothing if the source has none.
  int64_t outside(int32_t source) const {
    return length_[source] > 0 ? outside_[source] : kNothing;
  }
  int64_t depth() const { return depth_; }
  // Makes room for longer lists; those that are there stay.
  void deepen(int64_t depth);
  void set(int32_t source, const PricedList& list);

 private:
  int64_t depth_;
  std::vector<int32_t> ids_;  // [sources][depth]
  std::vector<int64_t> scores_;
  std::vector<int32_t> length_;
  std::vector<int64_t> outside_;
  std::vector<LatentId> outside_id_;
};

}  // namespace gtn
