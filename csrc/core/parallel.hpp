// Parallel: a fixed set of threads that run loops in chunks, with interruption. The calling thread
// takes part in every loop and, between its chunks and while it waits, calls `poll` about every
// 50 ms; an exception from poll or from a body stops the loop and is rethrown to the caller.
// Threads live as long as the object; nothing global is kept, so that forks and several engines in
// one process are safe.
#pragma once

#include <cstdint>
#include <memory>

#include "core/function_ref.hpp"

namespace gtn {

class Parallel {
 public:
  // body(begin, end, thread) with 0 <= thread < threads()
  using Body = FunctionRef<void(int64_t begin, int64_t end, int thread)>;

  // `poll` must outlive this object. Where the system refuses threads (a limit on processes or on
  // memory), there are fewer; the calling thread is always one.
  explicit Parallel(int threads, Poll poll = {});
  ~Parallel();
  Parallel(const Parallel&) = delete;
  Parallel& operator=(const Parallel&) = delete;

  int threads() const { return threads_; }

  // Runs body over [0, count) in chunks of at most `grain`, in no particular order.
  void run(int64_t count, int64_t grain, Body body);

  // Calls poll if it is due. For long sequential stretches on the calling thread.
  void poll_if_due();

 private:
  class Team;  // the threads; standard headers for them take long to compile
  std::unique_ptr<Team> team_;
  int threads_;
};

}  // namespace gtn
