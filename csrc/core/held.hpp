// Held: the latents that sources of a window hold, by their rows among those of all machines; and
// those that sources would hold if nothing more were known (a trial).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gtn {

class Held {
 public:
  Held() { clear(); }

  void clear();
  bool contains(int64_t latent) const;
  void insert(int64_t latent);
  // Until the end of a trial, what is inserted is held for the trial alone.
  void begin_trial() { trial_ = ++last_trial_; }
  void end_trial() { trial_ = 0; }

 private:
  struct Slot {
    int64_t latent = -1;  // -1: empty
    uint32_t mark = 0;    // 0: held; else the trial
  };
  size_t slot_of(int64_t latent) const;
  void grow();

  std::vector<Slot> slots_;  // open addressing; a power of two of them
  size_t used_ = 0;
  uint32_t trial_ = 0, last_trial_ = 0;
};

}  // namespace gtn
