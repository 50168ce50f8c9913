// Key: what a machine tells of a free latent. Keys are in the contract's order of preference (rules
// 3 and 4) without ranks of all latents, which no machine has.
#pragma once

#include <cstdint>

namespace gtn {

// In place of a latent, where a list ends before its room does.
constexpr int64_t kUnknown = -1;   // which latents come next is not known
constexpr int64_t kNoOthers = -2;  // none do

struct Key {
  double score = 0.0;
  double norm = 0.0;         // of the latent, or less than 0 where larger norms go first
  int64_t index = kUnknown;  // its row among those of all machines
};

// Among latents of equal score, and within a cone.
inline bool ranks_before(const Key& a, const Key& b) {
  return a.norm != b.norm ? a.norm < b.norm : a.index < b.index;
}

inline bool better(const Key& a, const Key& b) {
  return a.score != b.score ? a.score > b.score : ranks_before(a, b);
}

}  // namespace gtn
