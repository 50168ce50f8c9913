#include "core/auction_state.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace gtn {
namespace {

[[noreturn]] void refuse(const std::string& rule) {
  throw std::invalid_argument("auction " + rule);
}

void require(bool condition, const char* rule) {
  if (!condition) refuse(rule);
}

}  // namespace

AuctionState OptimalState::auction_of(const GroupRows& group, const DistinctLatents& ids) const {
  std::vector<int32_t> owner_of_row(price.size(), kNobody);
  for (size_t i = 0; i < group.sources.size(); ++i) {
    const int64_t row = holds[group.sources[i]];
    if (row >= 0) owner_of_row[row] = static_cast<int32_t>(i);
  }
  AuctionState a{epsilon, phases_of_group, bidders, level, cost, {}, {}};
  a.price.resize(ids.latents());
  a.owner.resize(ids.latents());
  for (int32_t rank = 0; rank < ids.latents(); ++rank) {
    const LatentRow row = ids.row_of_rank({rank});
    a.price[rank] = price[row];
    a.owner[rank] = price[row] == kAtLevel ? kSpare : owner_of_row[row];
  }
  return a;
}

void OptimalState::add(const AuctionState& auction, const GroupRows& group,
                       const DistinctLatents& ids, int64_t latents) {
  epsilon = auction.epsilon;
  phases_of_group = auction.phases;
  bidders = auction.bidders;
  level = auction.level;
  cost = auction.cost;
  price.assign(latents, 0);
  for (int32_t rank = 0; rank < ids.latents(); ++rank) {
    const LatentRow row = ids.row_of_rank({rank});
    price[row] = auction.price[rank];
    const int32_t owner = auction.owner[rank];
    if (owner >= 0) holds[group.sources[owner]] = row;
  }
}

void check_state(const OptimalState& s, std::span<const GroupRows> groups, int64_t sources,
                 int64_t latents, int64_t dim) {
  const int64_t solved = s.groups;
  require(solved >= 0 && solved <= std::ssize(groups), "must count groups of this input");
  for (const int64_t count : {s.phases, s.rounds, s.bids, s.scans, s.full_scans, s.batches,
                              s.distinct, s.epsilon, s.phases_of_group, s.bidders, s.level}) {
    require(count >= 0 && count <= kLargestPrice, "must hold counts within their range");
  }
  require(std::isfinite(s.gap) && s.gap >= 0.0 && std::isfinite(s.rounding) && s.rounding >= 0.0,
          "must hold a gap that is a number >= 0");
  require(std::isfinite(s.cost), "must hold a cost that is a number");
  const bool running = s.epsilon > 0;
  require(!running || solved < std::ssize(groups), "must end with the last group");
  require(!running || dim > 1 || groups[solved].sources.size() < groups[solved].latents.size(),
          "must hold no auction of one dimension");
  require(std::ssize(s.holds) == sources && std::ssize(s.price) == (running ? latents : 0) &&
              std::ssize(s.prices) == (solved > 0 ? latents : 0),
          "must have one entry a source and one price a latent");
  for (const double price : s.prices) require(std::isfinite(price), "must hold finite prices");
  std::vector<int32_t> group_of(latents, -1);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const LatentRow row : groups[g].latents) group_of[row] = static_cast<int32_t>(g);
  }
  std::vector<uint8_t> taken(latents, 0);
  for (int32_t g = 0; g < std::ssize(groups); ++g) {
    for (const SourceRow source : groups[g].sources) {
      const int64_t row = s.holds[source];
      if (row == -1) {
        require(g >= solved, "must give each source of a solved group a latent");
        continue;
      }
      require(row >= 0 && row < latents && group_of[row] == g,
              "must give sources latents of their own group");
      require(g < solved || (g == solved && running), "must not place sources of later groups");
      require(!taken[row], "must give no latent to two sources");
      taken[row] = 1;
      require(g < solved || s.price[row] != kAtLevel, "must give no latent to two sources");
    }
  }
}

void check_auction(const AuctionState& a, const Prices& first, int64_t first_epsilon,
                   int64_t sources) {
  require(a.epsilon >= 1 && a.epsilon <= first_epsilon && a.phases >= 1,
          "must be in a phase of the schedule");
  int64_t spares = std::ssize(a.price) - sources;
  first.members([&](Rank rank, int64_t least, int32_t) {
    const int64_t price = a.price[rank.value];
    if (price == kAtLevel) {
      require(spares-- > 0, "must not have more spares than latents are left over");
      require(least + a.level <= kLargestPrice, "must hold prices within their range");
    } else {
      require(price >= least && price <= kLargestPrice, "must hold prices within their range");
    }
  });
}

}  // namespace gtn
