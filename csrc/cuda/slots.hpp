// Groups of latents that share a bound, and the slots in which their codes lie.
// Pure arithmetic, for the host and the device.
//
// A scan kernel gives, for every source and every group of latents, the largest integer dot product
// of their codes. Groups are interleaved so that each thread of a tensor-core tile meets whole
// groups and nothing has to be exchanged: an accumulator tile of 16 x 8 (mma) or 64 x N (wgmma)
// gives the thread of lane l the columns 8 j + 2 (l % 4) and one more, for all j. So the 128
// columns of a tile hold eight groups, 16 members each: four (l % 4) in the first 64 columns, four
// in the second; a group's members lie in `tiles` consecutive tiles, its superpanel:
//
//   slot = superpanel * 128 tiles + tile * 128 + half * 64 + 8 j + 2 quarter + b
//   group = superpanel * 8 + half * 4 + quarter,  member = tile * 16 + 2 j + b
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace gtn::cuda {

constexpr int kTileSlots = 128;   // latents of a tile
constexpr int kTileGroups = 8;    // groups that a tile, and a superpanel, has a share of
constexpr int kTileMembers = 16;  // members of each of them
constexpr int kStrideBytes = 32;  // rows of codes are padded with zeros to multiples of it

struct Slots {
  int32_t tiles;  // of a superpanel

  GTN_HD int32_t group_members() const { return tiles * kTileMembers; }
  GTN_HD int32_t superpanel_slots() const { return tiles * kTileSlots; }

  GTN_HD int64_t slot_of(int64_t group, int32_t member) const {
    const int64_t superpanel = group / kTileGroups;
    const auto in_tile = static_cast<int32_t>(group % kTileGroups);
    const int32_t tile = member / kTileMembers, pair = member % kTileMembers / 2;
    return superpanel * superpanel_slots() + tile * kTileSlots + in_tile / 4 * 64 + pair * 8 +
           in_tile % 4 * 2 + member % 2;
  }
  GTN_HD int64_t group_of(int64_t slot) const {
    const int64_t superpanel = slot / superpanel_slots();
    const auto column = static_cast<int32_t>(slot % kTileSlots);
    return superpanel * kTileGroups + column / 64 * 4 + column % 8 / 2;
  }
  GTN_HD int32_t member_of(int64_t slot) const {
    const auto tile = static_cast<int32_t>(slot % superpanel_slots() / kTileSlots);
    const auto column = static_cast<int32_t>(slot % kTileSlots);
    return tile * kTileMembers + column % 64 / 8 * 2 + column % 2;
  }
};

}  // namespace gtn::cuda
