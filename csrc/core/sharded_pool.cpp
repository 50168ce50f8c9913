#include "core/sharded_pool.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

namespace gtn {
namespace {

constexpr int64_t kLargestWindow = 65536;
constexpr int64_t kSmallestLargest = 1024;
constexpr int64_t kWindowBytes = int64_t{64} << 20;
// Keys are in order up to where the first list ends. With latents dealt at random lists end at
// about the same score, and so many keys more make it likely that `depth` are in order.
constexpr int64_t kSpareKeys = 1;

}  // namespace

ShardedPool::ShardedPool(Shard& shard, Exchange& exchange, int64_t total, int64_t cone,
                         Parallel& parallel, Stats& stats, ShardedStats& sharded)
    : shard_(shard),
      ranks_(exchange, sharded),
      world_(exchange.world()),
      cone_(cone),
      parallel_(parallel),
      stats_(stats),
      free_(total),
      first_keys_(keys_for(cone)) {}

int64_t ShardedPool::keys_for(int64_t depth) const {
  return (depth + world_ - 1) / world_ + (world_ > 1 ? kSpareKeys : 0);
}

int64_t ShardedPool::largest_window() const {
  const auto bytes = static_cast<int64_t>(sizeof(Key)) * world_ * first_keys_;
  return std::clamp(kWindowBytes / bytes, kSmallestLargest, kLargestWindow);
}

void ShardedPool::open(std::span<const Query> queries, int64_t depth) {
  queries_.assign(queries.begin(), queries.end());
  merged_.clear();
  prefixes_.assign(queries.size(), {});
  searched_.assign(queries.size(), 0);
  keys_ = first_keys_ = keys_for(depth);
  std::vector<size_t> all(queries.size());
  std::iota(all.begin(), all.end(), size_t{0});
  list(all, keys_);
}

// Lists the best free latents of all machines for some sources.
void ShardedPool::list(std::span<const size_t> sources, int64_t keys) {
  std::vector<Query> queries;
  for (const size_t i : sources) queries.push_back(queries_[i]);
  std::vector<Key> own(queries.size() * keys);
  shard_.search(queries, keys, own.data());
  ranks_.all_gather(std::as_bytes(std::span(own)));
  PhaseTimer timer(ranks_.stats().seconds.merge);
  merge(sources, keys);
}

// Puts the keys of all shards in order, for each source, as far as all shards know.
void ShardedPool::merge(std::span<const size_t> sources, int64_t keys) {
  const size_t first = merged_.size(), most = keys * world_;
  merged_.resize(first + sources.size() * most);
  parallel_.run(std::ssize(sources), 64, [&](int64_t begin, int64_t end, int) {
    std::vector<Key> lists((keys + 1) * world_);  // ended by a key of no latent
    std::vector<const Key*> next(world_);
    for (int64_t j = begin; j < end; ++j) {
      for (int64_t r = 0; r < world_; ++r) {
        const std::byte* from = ranks_.received(r).data();
        Key* const list = lists.data() + r * (keys + 1);
        std::memcpy(list, from + j * keys * sizeof(Key), keys * sizeof(Key));
        list[keys].index = kUnknown;
        next[r] = list;
      }
      Prefix& prefix = prefixes_[sources[j]];
      prefix = {first + j * most, 0, false};
      for (;;) {
        const Key** best = nullptr;
        bool known = true;
        for (const Key*& head : next) {
          known = known && head->index != kUnknown;
          if (head->index >= 0 && (best == nullptr || better(*head, **best))) best = &head;
        }
        prefix.whole = known && best == nullptr;
        if (!known || best == nullptr) break;
        merged_[prefix.begin + prefix.length++] = *(*best)++;
      }
    }
  });
}

// The choice of a source by its list; false if the list has run out. passed: latents of the list
// that others hold.
bool ShardedPool::choose(size_t source, Key& choice, int32_t& passed) const {
  const Prefix& prefix = prefixes_[source];
  const int64_t wanted = std::min(cone_, free_);
  int64_t found = 0;
  passed = 0;
  for (size_t at = prefix.begin; at < prefix.begin + prefix.length; ++at) {
    const Key& key = merged_[at];
    if (held_.contains(key.index)) {
      ++passed;
      continue;
    }
    if (found == 0 || ranks_before(key, choice)) choice = key;
    if (++found == wanted) return true;
  }
  return false;
}

Pool::Taken ShardedPool::take(size_t source) {
  Key choice;
  int32_t passed;
  while (!choose(source, choice, passed)) search_again(source);
  held_.insert(choice.index);
  taken_.push_back(choice.index);
  --free_;
  note(choice);
  const bool searched = searched_[source] != 0;
  return {choice.index, choice.score, passed > 0 || searched, searched,
          passed > 0 && !searched ? passed : -1};
}

// Lists more for a source and for those after it whose lists will have run out, if all others take
// what their lists say.
void ShardedPool::search_again(size_t first) {
  if (prefixes_[first].whole) {
    throw std::logic_error("a list of all free latents did not have what a source would take");
  }
  shard_.remove(taken_);
  taken_.clear();
  std::vector<size_t> sources;
  const int64_t before = free_;
  held_.begin_trial();
  for (size_t i = first; i < queries_.size() && free_ > 0; ++i) {
    Key choice;
    int32_t passed;
    if (!choose(i, choice, passed)) {
      sources.push_back(i);
    } else {
      held_.insert(choice.index);
    }
    --free_;
  }
  held_.end_trial();
  free_ = before;
  keys_ = 2 * keys_ + 1;
  const int64_t bytes = static_cast<int64_t>(sizeof(Key)) * world_ * keys_;
  const auto most = static_cast<size_t>(std::max<int64_t>(1, kWindowBytes / bytes));
  if (sources.size() > most) sources.resize(most);
  for (const size_t i : sources) searched_[i] = 1;
  list(sources, keys_);
}

void ShardedPool::close() {
  PhaseTimer timer(stats_.seconds.remove);
  shard_.remove(taken_);
  taken_.clear();
  held_.clear();
}

void ShardedPool::note(const Key& choice) {
  ranks_.note(static_cast<uint64_t>(choice.index));
  ranks_.note(std::bit_cast<uint64_t>(choice.score));
}

void ShardedPool::remove(std::span<const int64_t> taken) {
  shard_.remove(taken);
  free_ -= std::ssize(taken);
  for (const int64_t latent : taken) ranks_.note(static_cast<uint64_t>(latent));
}

}  // namespace gtn
