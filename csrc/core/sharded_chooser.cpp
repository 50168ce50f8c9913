#include "core/sharded_chooser.hpp"

#include <algorithm>
#include <cstring>

#include "core/stats.hpp"

namespace gtn {
namespace {

constexpr int64_t kBytesAtOnce = int64_t{64} << 20;  // of choices of all machines

// The better one becomes `choice`.
void merge(Choice& choice, const Choice& other) {
  if (other.id < 0) return;
  const bool wins =
      other.best != choice.best ? other.best > choice.best : choice.id < 0 || other.id < choice.id;
  const Choice& loser = wins ? choice : other;
  const int64_t second = std::max({choice.second, other.second, loser.best});
  if (wins) choice = other;
  choice.second = second;
}

}  // namespace

void ShardedChooser::choose(std::span<const int32_t> sources, bool second_too,
                            std::vector<Choice>& choices) {
  choices.assign(sources.size(), Choice());
  std::vector<Choice> own;
  const auto bytes = static_cast<int64_t>(sizeof(Choice)) * ranks_.world();
  const size_t most = std::max<int64_t>(kBytesAtOnce / bytes, 1024);
  for (size_t from = 0; from < sources.size(); from += most) {
    const auto some = sources.subspan(from, std::min(most, sources.size() - from));
    own.assign(some.size(), Choice());
    if (own_ != nullptr) {
      own_->choose(some, second_too, own);
      for (Choice& c : own) c.id = ids_[c.id];
    }
    ranks_.all_gather(std::as_bytes(std::span(own)));
    PhaseTimer timer(ranks_.stats().seconds.merge);
    for (int64_t r = 0; r < ranks_.world(); ++r) {
      const std::byte* theirs = ranks_.received(r).data();
      for (size_t i = 0; i < some.size(); ++i) {
        Choice c;
        std::memcpy(&c, theirs + i * sizeof(Choice), sizeof(Choice));
        merge(choices[from + i], c);
      }
    }
    for (size_t i = from; i < from + some.size(); ++i) {
      ranks_.note(static_cast<uint64_t>(choices[i].id));
      ranks_.note(static_cast<uint64_t>(choices[i].best));
    }
  }
}

std::vector<int64_t> ShardedChooser::scores(std::span<const int32_t> sources,
                                            std::span<const LatentId> ids) {
  std::vector<int32_t> own_sources;
  std::vector<LatentId> own_ids;
  std::vector<int64_t> pairs, own;
  for (size_t i = 0; i < ids.size(); ++i) {
    const LatentId id = own_id(ids[i]);
    if (id < 0) continue;
    pairs.push_back(static_cast<int64_t>(i));
    own_sources.push_back(sources[i]);
    own_ids.push_back(id);
  }
  if (!pairs.empty()) own = own_->scores(own_sources, own_ids);
  std::vector<int64_t> scores(ids.size());
  ranks_.place<int64_t>(pairs, own, scores);
  return scores;
}

void ShardedChooser::raised(std::span<const LatentId> ids) {
  for (const LatentId id : ids) ranks_.note(static_cast<uint64_t>(prices_.of(id)));
  if (own_ == nullptr) return;
  std::vector<LatentId> own;
  for (const LatentId id : ids) {
    if (const LatentId here = own_id(id); here >= 0) own.push_back(here);
  }
  if (!own.empty()) own_->raised(own);
}

LatentId ShardedChooser::own_id(LatentId id) const {
  const auto at = std::lower_bound(ids_.begin(), ids_.end(), id);
  return at != ids_.end() && *at == id ? static_cast<LatentId>(at - ids_.begin()) : -1;
}

}  // namespace gtn
