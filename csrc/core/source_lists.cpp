#include "core/source_lists.hpp"

#include <algorithm>
#include <type_traits>

namespace gtn {

SourceLists::SourceLists(int64_t sources, int64_t depth) : depth_(depth) {
  ids_.resize(sources * depth);
  scores_.resize(sources * depth);
  length_.assign(sources, 0);
  outside_.assign(sources, INT64_MAX / 4);
  outside_id_.assign(sources, -1);
}

SourceLists::List SourceLists::of(int32_t source) {
  const size_t at = source * depth_, length = length_[source];
  return {std::span(ids_).subspan(at, length), std::span(scores_).subspan(at, length),
          outside_[source], outside_id_[source]};
}

void SourceLists::deepen(int64_t depth) {
  const auto spread = [&](auto& values) {
    std::remove_reference_t<decltype(values)> wide(length_.size() * depth);
    for (size_t s = 0; s < length_.size(); ++s) {
      std::copy_n(values.begin() + s * depth_, length_[s], wide.begin() + s * depth);
    }
    values.swap(wide);
  };
  spread(ids_);
  spread(scores_);
  depth_ = depth;
}

void SourceLists::set(int32_t source, const PricedList& list) {
  const size_t length = std::min<size_t>(list.items.size(), depth_);
  length_[source] = static_cast<int32_t>(length);
  outside_[source] = list.outside;
  outside_id_[source] = list.outside_id;
  const List to = of(source);
  for (size_t t = 0; t < length; ++t) {
    const PricedCandidate& c = list.items[t];
    to.ids[t] = c.exact ? c.id : ~c.id;
    to.scores[t] = c.score;
  }
}

}  // namespace gtn
