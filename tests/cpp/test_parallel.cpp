// Parallel: every index once, errors and polls reach the caller, loops go on after an error.
#include <doctest/doctest.h>

#ifdef __linux__
#include <sys/mman.h>
#include <sys/resource.h>
#endif

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.hpp"

TEST_CASE("every index runs exactly once, with any number of threads and chunk size") {
  for (const int threads : {1, 2, 7}) {
    gtn::Parallel parallel(threads);
    for (const int64_t count : {0, 1, 2, 97, 1000}) {
      for (const int64_t grain : {1, 3, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        parallel.run(count, grain, [&](int64_t begin, int64_t end, int thread) {
          CHECK(thread < threads);
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& s : seen) CHECK(s.load() == 1);
      }
    }
  }
}

TEST_CASE("an exception in any chunk reaches the caller and the next loop works") {
  gtn::Parallel parallel(4);
  for (int round = 0; round < 50; ++round) {
    CHECK_THROWS_WITH_AS(parallel.run(100, 1,
                                      [&](int64_t begin, int64_t, int) {
                                        if (begin == round) throw std::runtime_error("chunk");
                                      }),
                         "chunk", std::runtime_error);
    std::atomic<int64_t> sum{0};
    parallel.run(100, 1, [&](int64_t begin, int64_t, int) { sum += begin; });
    CHECK(sum.load() == 4950);
  }
}

TEST_CASE("poll interrupts a loop, also while only other threads are busy") {
  for (const int threads : {1, 3}) {
    const auto interrupt = [] { throw std::runtime_error("interrupted"); };
    gtn::Parallel parallel(threads, interrupt);
    std::atomic<int> chunks{0};
    CHECK_THROWS_WITH_AS(parallel.run(1000, 1,
                                      [&](int64_t, int64_t, int) {
                                        ++chunks;
                                        std::this_thread::sleep_for(std::chrono::milliseconds(5));
                                      }),
                         "interrupted", std::runtime_error);
    CHECK(chunks.load() < 1000);
  }
}

// The sanitizers reserve terabytes of addresses, and need more for each thread.
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("where the system refuses threads, those that started do the work") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit little = before;
  little.rlim_cur = 256 << 20;  // room for some stacks of 8 MiB
  REQUIRE(setrlimit(RLIMIT_AS, &little) == 0);
  // Emulators of processors take the limit and do not keep it.
  void* much = mmap(nullptr, 1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool limited = much == MAP_FAILED;
  if (!limited) munmap(much, 1 << 30);
  {
    gtn::Parallel parallel(200);
    setrlimit(RLIMIT_AS, &before);
    CHECK(parallel.threads() >= 1);
    CHECK((parallel.threads() < 200) == limited);
    std::atomic<int64_t> sum{0};
    parallel.run(1000, 1, [&](int64_t begin, int64_t, int thread) {
      CHECK(thread < parallel.threads());
      sum += begin;
    });
    CHECK(sum.load() == 499500);
  }
}
#endif
