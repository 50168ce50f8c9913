// Key: what a machine tells of a free latent. Keys are in the contract's order of preference (rules
// 3 and 4) without ranks of all latents, which no machine has.
#pragma once

#include <cstdint>

namespace gtn {

struct Key {
  double score = 0.0;
  double norm = 0.0;   // of the latent, or less than 0 where larger norms go first
  int64_t index = -1;  // its row among those of all machines; -1: no latent

  bool there() const { return index >= 0; }
};

// True if a ranks before b: where scores tie, and as their order within a cone.
inline bool ranks_before(const Key& a, const Key& b) {
  return a.norm != b.norm ? a.norm < b.norm : a.index < b.index;
}

inline bool better(const Key& a, const Key& b) {
  if (a.there() != b.there()) return a.there();
  return a.score != b.score ? a.score > b.score : ranks_before(a, b);
}

}  // namespace gtn
