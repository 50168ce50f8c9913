// Parallel: a fixed set of threads that run loops in chunks, with interruption. The calling thread
// takes part in every loop and, between its chunks and while it waits, calls `poll` about every
// 50 ms; an exception from poll or from a body stops the loop and is rethrown to the caller.
// Threads live as long as the object; nothing global is kept, so that forks and several engines in
// one process are safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace gtn {

class Parallel {
 public:
  // body(begin, end, thread) with 0 <= thread < threads()
  using Body = std::function<void(int64_t begin, int64_t end, int thread)>;

  explicit Parallel(int threads, std::function<void()> poll = {});
  ~Parallel();
  Parallel(const Parallel&) = delete;
  Parallel& operator=(const Parallel&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body over [0, count) in chunks of at most `grain`, in no particular order.
  void run(int64_t count, int64_t grain, const Body& body);

  // Calls poll if it is due. For long sequential stretches on the calling thread.
  void poll_if_due();

 private:
  void worker(int thread);
  void take_chunks(int thread);
  void record_error();

  std::function<void()> poll_;
  std::chrono::steady_clock::time_point last_poll_;

  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable finished_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> running_{0};
  bool quit_ = false;

  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  int64_t count_ = 0;
  int64_t grain_ = 1;
  const Body* body_ = nullptr;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace gtn
