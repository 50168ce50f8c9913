// Tells the thread sanitizer what races: each thread of a block is a thread to it, and only
// barriers of the block, __syncwarp and fences order what two of them do (shuffles and votes order
// nothing, as CUDA has it; blocks are taken to run one after another). Two threads that touch the
// same memory without such an order are then reported as a data race. Without that sanitizer all of
// this is nothing.
#pragma once

#include <vector>

#ifdef GTN_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace gtn::emulated::races {

#ifdef GTN_THREAD_SANITIZER

// A stack is one thread's until its block has ended, or its frames would count as shared.
constexpr bool kStacksOfTheirOwn = true;

// Orders all that a thread did before it releases a mark before all that others do after they
// acquire it.
inline void release(char& mark) {
  __tsan_release(&mark);
}
inline void acquire(char& mark) {
  __tsan_acquire(&mark);
}

// The emulator's own reads and writes are not the kernel's.
inline void look_away() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
inline void look_again() {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

// The sanitizer's contexts of the threads of a block, and of what runs the grid.
class Contexts {
 public:
  ~Contexts() { clear(); }
  void make(size_t threads) {
    scheduler_ = __tsan_get_current_fiber();
    while (threads_.size() < threads) {
      threads_.push_back(__tsan_create_fiber(0));
      __tsan_switch_to_fiber(threads_.back(), __tsan_switch_to_fiber_no_sync);
      look_away();
      leave();
    }
  }
  void clear() {
    scheduler_ = __tsan_get_current_fiber();  // perhaps not where they were made
    for (size_t i = 0; i < threads_.size(); ++i) {
      enter(i);
      look_again();
      leave();
      __tsan_destroy_fiber(threads_[i]);
    }
    threads_.clear();
  }
  void enter(size_t thread) {
    __tsan_switch_to_fiber(threads_[thread], __tsan_switch_to_fiber_no_sync);
  }
  void leave() { __tsan_switch_to_fiber(scheduler_, __tsan_switch_to_fiber_no_sync); }

 private:
  void* scheduler_ = nullptr;
  std::vector<void*> threads_;
};

#else

constexpr bool kStacksOfTheirOwn = false;
inline void release(char&) {}
inline void acquire(char&) {}
inline void look_away() {}
inline void look_again() {}
class Contexts {
 public:
  void make(size_t) {}
  void clear() {}
  void enter(size_t) {}
  void leave() {}
};

#endif

// In the emulator's own code, called by a kernel or by the host.
struct Unseen {
  Unseen() { look_away(); }
  ~Unseen() { look_again(); }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};
// In a kernel, called by the emulator.
struct Seen {
  Seen() { look_again(); }
  ~Seen() { look_away(); }
  Seen(const Seen&) = delete;
  Seen& operator=(const Seen&) = delete;
};

}  // namespace gtn::emulated::races
