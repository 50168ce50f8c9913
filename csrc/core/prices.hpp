// Prices of latents in an auction, and who holds them. Latents go by distinct id; the members of an
// id, which no source can tell apart, are sold one by one, the cheapest first (similar objects:
// Bertsekas and Castanon 1989).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/distinct.hpp"
#include "core/function_ref.hpp"
#include "core/indices.hpp"

namespace gtn {

constexpr int32_t kNobody = -1;  // owners that are no sources
constexpr int32_t kSpare = -2;   // spares.hpp

constexpr int64_t kAtLevel = -1;  // in place of a price that follows the level of the spares

class Prices {
 public:
  // start: by id, what prices begin with; at least 0.
  Prices(const DistinctLatents& distinct, std::vector<int64_t> start);

  int32_t count() const { return static_cast<int32_t>(least_.size()); }
  // Least price of a member.
  int64_t of(LatentId id) const {
    const int64_t price = least_[id];
    return price != kAtLevel ? price : at_start_[id] + level_;
  }
  int64_t at_start(LatentId id) const { return at_start_[id]; }
  int64_t rise(LatentId id) const { return of(id) - at_start_[id]; }
  // What all latents that spares hold have risen by.
  int64_t level() const { return level_; }
  void set_level(int64_t level) { level_ = level; }
  // The owner of the cheapest member, of these the lowest rank.
  int32_t cheapest_owner(LatentId id) const { return slots_[begin(id)].owner; }
  // Sells the cheapest member at a price above its own.
  void sell(LatentId id, int64_t price, int32_t owner);
  // Gives a latent to a spare: from now on its price follows the level.
  void give_to_spare(LatentId id);
  // Takes it back at the price of now.
  void take_from_spare(LatentId id);
  void release(LatentId id, int32_t owner);
  // Sets all members of each id to the least price among them.
  void level_members();
  // Calls visit(rank, owner) for each member of an id.
  void owners(LatentId id, FunctionRef<void(Rank rank, int32_t owner)> visit) const;
  // Calls visit(rank, price, owner) for each member of every id.
  void members(FunctionRef<void(Rank rank, int64_t price, int32_t owner)> visit) const;
  // Takes over what `members` told of an earlier run, by rank.
  void restore(std::span<const int64_t> price, std::span<const int32_t> owner, int64_t level);

 private:
  struct Slot {
    int64_t price;
    int32_t member;
    int32_t owner;
  };
  static bool dearer(const Slot& a, const Slot& b) {
    return a.price != b.price ? a.price > b.price : a.member > b.member;
  }
  int64_t begin(LatentId id) const { return first_.empty() ? id : first_[id]; }
  int64_t end(LatentId id) const { return first_.empty() ? id + 1 : first_[id + 1]; }

  const DistinctLatents& distinct_;
  std::vector<int64_t> first_;  // slot by id; empty if all latents differ
  std::vector<Slot> slots_;     // of an id: a heap, the cheapest first
  std::vector<int64_t> least_, at_start_;
  int64_t level_ = 0;
};

}  // namespace gtn
