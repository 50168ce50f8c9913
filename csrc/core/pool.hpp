// Pool: the free latents, as the greedy loop (greedy.hpp) sees them: those of one machine
// (local_pool.hpp), or of many (sharded_pool.hpp). It finds what each source of a window would
// take, and takes it; the loop says how large windows are and how long lists.
#pragma once

#include <cstdint>
#include <span>

#include "core/shortlist.hpp"

namespace gtn {

class Pool {
 public:
  struct Taken {
    int64_t latent;  // its row, of all machines
    double score;
    bool conflict = false;  // an earlier source of the window took the best of when it was opened
    bool searched = false;  // the list ran out: the source was searched again
    int32_t passed = -1;    // better latents of its list that others had taken; -1: not looked at
  };

  Pool() = default;
  virtual ~Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Free latents that a source can tell apart.
  virtual int64_t free() const = 0;
  // Begins a window: lists for each of its sources, of so many of the best free latents.
  virtual void open(std::span<const Query> queries, int64_t depth) = 0;
  // Takes the best free latent of a source of the window. Sources come in order, from the first.
  virtual Taken take(size_t source) = 0;
  // Ends a window, perhaps before its last source.
  virtual void close() = 0;

  // The most sources of a window: so many, and one in so many free latents.
  virtual int64_t largest_window() const = 0;
  virtual int64_t window_share() const = 0;
  // Searches again during a window that are worth ending it for.
  virtual int64_t bearable_searches(int64_t window) const = 0;
  // True if a search for one source costs no more than its share of a window.
  virtual bool cheap_alone() const = 0;
  // True if long lists are cheaper than small windows.
  virtual bool long_lists_pay() const = 0;
};

}  // namespace gtn
