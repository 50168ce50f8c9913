#include "cuda/plan.hpp"

#include <algorithm>

#include "cuda/caps.hpp"
#include "cuda/codes.hpp"
#include "cuda/conflicts.hpp"

namespace gtn::cuda {
namespace {

constexpr int32_t kSmallestWindow = 32;
constexpr int32_t kUsualWindow = 512;  // below it, moving rows out is better

struct Parts {
  int64_t fixed;       // whatever the window
  int64_t per_source;  // of a window
  int64_t codes;
};

Parts parts_of(const PlanInput& in) {
  const int64_t m = in.latents, n = in.sources;
  Parts parts{};
  // Norms, and ranks by row where a run goes on; ranks, holders, what is free, and its sorting; of
  // sources norms, the order, what an earlier run took and the results.
  parts.fixed = kSpareBytes + (8 + 4) * in.all_latents + (4 + 4 + 1) * m +
                Sorter::bytes_for(std::max(m, n)) + (8 + 4 + 4 + 4 + 8) * n;
  int64_t groups;
  if (in.dim <= kCapDims) {
    groups = CapBounds::most_groups(m);
    parts.fixed += 4 * m * (in.dim + 1) + groups * (8 * (kCapDims + 2) + 4 * kMostMembers + 12);
  } else {
    groups = CodeBounds::most_groups(m, in.dim);
    const int64_t stride = CodeBounds::stride_for(in.dim);
    const int64_t cells = most_cells(m);
    // A sample, or seeds and the sizes of their cells.
    const int64_t seeding = cells == 1 ? 0 : std::max(kSeedSample, cells) * (4 * in.dim + 16);
    const int64_t per_row = stride + static_cast<int64_t>(sizeof(SourceCode)) + 4 * cells;
    const int64_t room = CodeBounds::slots_for(in.dim).group_members();
    parts.codes = groups * room * stride;
    parts.fixed += groups * (static_cast<int64_t>(sizeof(GroupCode)) + 4 + 4 * room) +
                   (4 + 1 + 4) * m + cells * 17 * 8 * in.dim + seeding + kSourceRows * per_row;
    parts.per_source = per_row + (CodeBounds::names(in.dim) ? 4 * groups : 0);
  }
  parts.per_source += 4 * groups + 12 * in.depth + 24;
  return parts;
}

}  // namespace

Plan plan_for(const PlanInput& in) {
  const Parts parts = parts_of(in);
  const bool coded = parts.codes > 0;
  const int64_t wanted = std::min<int64_t>(kMostWindow, std::max<int64_t>(in.sources, 1));
  Plan plan;
  // In the order of what it costs: each step moves one thing more to the host.
  for (int step = 0; step < 4; ++step) {
    plan.sources_mapped = step >= 1 && in.source_bytes > 0;
    plan.latents_mapped = step >= 2 && in.latent_bytes > 0;
    plan.codes_mapped = step >= 3 && coded;
    const int64_t base = parts.fixed + (plan.sources_mapped ? 0 : in.source_bytes) +
                         (plan.latents_mapped ? 0 : in.latent_bytes) +
                         (plan.codes_mapped ? 0 : parts.codes);
    const int64_t fits = (in.available - base) / parts.per_source;
    const int64_t bearable = step < 3 ? std::min<int64_t>(wanted, kUsualWindow)
                                      : std::min<int64_t>(wanted, kSmallestWindow);
    if (in.available > base && fits >= bearable) {
      plan.window = static_cast<int32_t>(std::min(wanted, fits));
      plan.bytes = base + plan.window * parts.per_source;
      return plan;
    }
  }
  return {};
}

int64_t least_bytes(const PlanInput& in) {
  const Parts parts = parts_of(in);
  const int64_t window = std::min<int64_t>(kSmallestWindow, std::max<int64_t>(in.sources, 1));
  return parts.fixed + window * parts.per_source;
}

}  // namespace gtn::cuda
