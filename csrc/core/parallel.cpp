#include "core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/float_mode.hpp"

namespace gtn {
namespace {
constexpr auto kPollInterval = std::chrono::milliseconds(50);
// A worker spins this often before it sleeps: loops follow each other within microseconds.
constexpr int kSpins = 1000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
}  // namespace

class Parallel::Team {
 public:
  Team(int threads, Poll poll);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  void run(int64_t count, int64_t grain, const Body& body);
  void poll_if_due();

 private:
  void worker(int thread);
  void take_chunks(int thread);
  void record_error();

  Poll poll_;
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();

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

Parallel::Team::Team(int threads, Poll poll) : poll_(poll) {
  workers_.reserve(std::max(0, threads - 1));
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { worker(t); });
  } catch (const std::system_error&) {  // the system refuses more: those that started do the work
  }
}

Parallel::Team::~Team() {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    generation_.fetch_add(1);
  }
  start_.notify_all();
  for (auto& w : workers_) w.join();
}

void Parallel::Team::poll_if_due() {
  if (!poll_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_poll_ < kPollInterval) return;
  last_poll_ = now;
  poll_();
}

void Parallel::Team::record_error() {
  std::lock_guard lock(mutex_);
  if (!error_) error_ = std::current_exception();
  stop_.store(true);
}

void Parallel::Team::take_chunks(int thread) {
  while (!stop_.load(std::memory_order_relaxed)) {
    const int64_t begin = next_.fetch_add(grain_);
    if (begin >= count_) return;
    (*body_)(begin, std::min(begin + grain_, count_), thread);
    if (thread == 0) poll_if_due();
  }
}

void Parallel::Team::worker(int thread) {
  const DefaultFloatMode mode;
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; ++i) relax();
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return quit_ || generation_.load() != seen; });
      if (quit_) return;
      seen = generation_.load();
    }
    try {
      take_chunks(thread);
    } catch (...) {
      record_error();
    }
    if (running_.fetch_sub(1) == 1) {
      std::lock_guard lock(mutex_);
      finished_.notify_one();
    }
  }
}

void Parallel::Team::run(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (workers_.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, std::min(begin + grain, count), 0);
      poll_if_due();
    }
    return;
  }
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    grain_ = grain;
    next_.store(0);
    stop_.store(false);
    error_ = nullptr;
    running_.store(static_cast<int>(workers_.size()));
    generation_.fetch_add(1);
  }
  start_.notify_all();
  try {
    take_chunks(0);
  } catch (...) {
    record_error();
  }
  for (int i = 0; i < kSpins && running_.load() != 0; ++i) relax();
  std::unique_lock lock(mutex_);
  while (running_.load() != 0) {
    finished_.wait_for(lock, kPollInterval, [&] { return running_.load() == 0; });
    if (running_.load() != 0 && !error_) {
      lock.unlock();
      try {
        poll_if_due();
      } catch (...) {
        record_error();
      }
      lock.lock();
    }
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

Parallel::Parallel(int threads, Poll poll)
    : team_(std::make_unique<Team>(threads, poll)), threads_(team_->threads()) {}

Parallel::~Parallel() = default;

void Parallel::run(int64_t count, int64_t grain, Body body) {
  team_->run(count, grain, body);
}

void Parallel::poll_if_due() {
  team_->poll_if_due();
}

}  // namespace gtn
