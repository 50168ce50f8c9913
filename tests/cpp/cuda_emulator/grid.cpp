// Runs a grid: its blocks one after another in an order drawn from the seed, each thread of a block
// on a fiber until it waits or returns, the next one drawn from those that can go on. A kernel that
// needs a barrier it does not have, or an order it does not enforce, so gives other results under
// other seeds (settings.cpp).
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "fiber.hpp"
#include "races.hpp"
#include "settings.hpp"
#include "threads.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace gtn::emulated {

namespace {

constexpr int kLanes = 32;
constexpr int kMostThreads = 1024;  // of a block
constexpr size_t kSharedAlignment = 128;
// Atomics and fences let others run once in so many times.
constexpr uint32_t kProgressOdds = 16;

struct Thread {
  Fiber* fiber = nullptr;  // null until it starts
  uint3 index{};
  uint64_t value = 0;  // given to a collective, then what it returns
  int source = 0;      // the lane that a shuffle takes from
};

// Lanes of a warp that wait for each other.
struct Meeting {
  Collective collective;
  unsigned mask;
  unsigned arrived;
  Place place;
};

// Marks of a barrier and of a block's start and end, by which the thread sanitizer orders them.
struct Marks {
  char start, end;
  char barriers[2];  // in turn, so that who is ahead of one says nothing of who is still in it
  char warps[kMostThreads / kLanes];
};

struct Grid {
  const std::function<void()>* body = nullptr;
  std::vector<Thread> threads;  // of the block that runs
  std::vector<std::vector<Meeting>> warps;
  std::vector<int> able;  // threads that can go on
  std::vector<std::pair<int, const void*>> parked;
  int current = 0;
  int returned = 0;
  int at_barrier = 0;
  Place barrier{};
  Counts counts{};    // of the barrier that is being reached
  Counts released{};  // of the last one
  int barriers = 0;   // that were passed
  Marks marks{};
  races::Contexts contexts;
  Fiber scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::thread::id owner;  // fibers run on the thread that they were made on
  std::exception_ptr error;
  unsigned char* shared = nullptr;
};

// One grid runs at a time: runtime.cpp's lock is held.
Grid grid;

std::string show(Place place) {
  const std::string file = place.file;
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(place.line);
}

std::string show_thread(int thread) {
  std::ostringstream text;
  const uint3& t = grid.threads[thread].index;
  text << "thread (" << t.x << "," << t.y << "," << t.z << ") of block (" << blockIdx.x << ","
       << blockIdx.y << "," << blockIdx.z << ")";
  return text.str();
}

bool same(Place a, Place b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

void make_current(int thread) {
  grid.current = thread;
  threadIdx = grid.threads[thread].index;
  grid.contexts.enter(thread);
}

// Draws the next thread to run; -1 if none can.
int draw() {
  if (grid.able.empty()) return -1;
  std::swap(grid.able[random_below(static_cast<uint32_t>(grid.able.size()))], grid.able.back());
  const int thread = grid.able.back();
  grid.able.pop_back();
  return thread;
}

void fiber_main();

// Leaves `from` for what can run next: a thread, or the scheduler if none can.
void go_on(Fiber& from) {
  const int next = draw();
  if (next < 0) {
    grid.contexts.leave();
    from.switch_to(grid.scheduler);
    return;
  }
  make_current(next);
  Thread& thread = grid.threads[next];
  if (thread.fiber == nullptr) {
    if (grid.idle.empty()) {
      grid.fibers.push_back(std::make_unique<Fiber>(fiber_main));
      grid.idle.push_back(grid.fibers.back().get());
    }
    thread.fiber = grid.idle.back();
    grid.idle.pop_back();
  }
  if (thread.fiber != &from) from.switch_to(*thread.fiber);
}

// The current thread waits until something makes it able again and it is drawn.
void wait() {
  races::release(grid.marks.end);  // the block may be given up before it is back
  go_on(*grid.threads[grid.current].fiber);
}

[[noreturn]] void fault(const std::string& what) {
  throw Fault("CUDA emulator: " + what);
}

// Runs threads to their end, one after another.
void fiber_main() {
  Fiber::arrived();
  for (;;) {
    Fiber& self = *grid.threads[grid.current].fiber;
    races::acquire(grid.marks.start);
    try {
      const races::Seen seen;
      (*grid.body)();
    } catch (...) {
      grid.error = std::current_exception();
    }
    races::release(grid.marks.end);
    if (grid.error) {
      grid.contexts.leave();
      self.switch_to(grid.scheduler);  // for good
    }
    ++grid.returned;
    if (!races::kStacksOfTheirOwn) grid.idle.push_back(&self);
    go_on(self);
  }
}

std::string describe_deadlock() {
  std::ostringstream text;
  text << "threads of block (" << blockIdx.x << "," << blockIdx.y << "," << blockIdx.z
       << ") wait for others that do not come: " << grid.returned << " returned";
  if (grid.at_barrier) text << ", " << grid.at_barrier << " at the barrier " << show(grid.barrier);
  if (!grid.parked.empty())
    text << ", " << grid.parked.size() << " at a phase of an mbarrier that does not end";
  for (size_t warp = 0; warp < grid.warps.size(); ++warp) {
    for (const Meeting& m : grid.warps[warp]) {
      text << ", lanes " << std::hex << m.arrived << " of the mask " << m.mask << std::dec
           << " of warp " << warp << " at " << show(m.place);
    }
  }
  return text.str();
}

void run_block(dim3 threads) {
  const int count = static_cast<int>(threads.x * threads.y * threads.z);
  grid.threads.assign(count, Thread{});
  grid.warps.assign((count + kLanes - 1) / kLanes, {});
  grid.able.resize(count);
  for (int i = 0; i < count; ++i) {
    const auto linear = static_cast<unsigned>(i);
    grid.threads[i].index = {linear % threads.x, linear / threads.x % threads.y,
                             linear / threads.x / threads.y};
    grid.able[i] = i;
  }
  grid.returned = grid.at_barrier = 0;
  grid.parked.clear();
  grid.idle.clear();
  for (const auto& fiber : grid.fibers) grid.idle.push_back(fiber.get());
  races::release(grid.marks.start);
  go_on(grid.scheduler);
  races::acquire(grid.marks.end);
  if (grid.error) std::rethrow_exception(grid.error);
  if (grid.returned < count) fault(describe_deadlock());
  end_asynchronous_work();
}

// Gives each lane of a complete meeting its result.
void conclude(Meeting meeting, int first) {
  uint64_t values[kLanes] = {};
  uint64_t all = 0;
  bool started = false;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(meeting.mask >> lane & 1)) {
      values[lane] = random_bits();  // a lane that takes no part gives an undefined value
      continue;
    }
    const uint64_t value = values[lane] = grid.threads[first + lane].value;
    if (meeting.collective == Collective::ballot) {
      all |= value << lane;
    } else if (meeting.collective == Collective::greatest_signed) {
      const auto a = static_cast<int64_t>(value), b = static_cast<int64_t>(all);
      all = static_cast<uint64_t>(started ? std::max(a, b) : a);
    } else {
      all = std::max(value, all);
    }
    started = true;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(meeting.mask >> lane & 1)) continue;
    Thread& thread = grid.threads[first + lane];
    if (meeting.collective == Collective::shuffle) {
      thread.value = values[thread.source];
    } else if (meeting.collective == Collective::match) {
      thread.value = 0;
      for (int other = 0; other < kLanes; ++other) {
        if (meeting.mask >> other & 1 && values[other] == values[lane]) {
          thread.value |= uint64_t{1} << other;
        }
      }
    } else {
      thread.value = all;
    }
    if (first + lane != grid.current) grid.able.push_back(first + lane);
  }
}

}  // namespace

unsigned char* dynamic_shared() {
  return grid.shared;
}

int lane() {
  return grid.current % kLanes;
}

void progress() {
  const races::Unseen unseen;
  if (grid.able.empty() || random_below(kProgressOdds) != 0) return;
  grid.able.push_back(grid.current);
  wait();
}

void park(const void* what) {
  grid.parked.emplace_back(grid.current, what);
  wait();
}

void wake(const void* what) {
  std::erase_if(grid.parked, [what](const auto& waiting) {
    if (waiting.second != what) return false;
    grid.able.push_back(waiting.first);
    return true;
  });
}

int current_thread() {
  return grid.current;
}

void fence() {
  static char mark;
  races::acquire(mark);
  races::release(mark);
  progress();
}

Counts block_barrier(Place place, int value) {
  const races::Unseen unseen;
  if (grid.at_barrier == 0) {
    grid.barrier = place;
    grid.counts = {};
  } else if (!same(place, grid.barrier)) {
    fault(show_thread(grid.current) + " is at the barrier " + show(place) +
          ", and others wait at another, " + show(grid.barrier));
  }
  ++grid.at_barrier;
  ++grid.counts.all;
  grid.counts.nonzero += value != 0;
  char& mark = grid.marks.barriers[grid.barriers % 2];
  races::release(mark);
  if (grid.at_barrier == static_cast<int>(grid.threads.size())) {
    grid.released = grid.counts;
    grid.at_barrier = 0;
    ++grid.barriers;
    for (int i = 0; i < static_cast<int>(grid.threads.size()); ++i) grid.able.push_back(i);
  }
  wait();
  races::acquire(mark);
  return grid.released;
}

uint64_t warp_collective(Collective collective, unsigned mask, uint64_t value, int source,
                         Place place) {
  const races::Unseen unseen;
  char& mark = grid.marks.warps[grid.current / kLanes];
  if (collective == Collective::sync) races::release(mark);
  Thread& thread = grid.threads[grid.current];
  auto& meetings = grid.warps[grid.current / kLanes];
  const int first = grid.current / kLanes * kLanes;
  const unsigned self = 1u << lane();
  if (!(mask & self)) {
    fault(show_thread(grid.current) + " is not in the mask it gives at " + show(place));
  }
  auto meeting = std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& m) {
    return m.mask == mask && m.collective == collective && same(m.place, place);
  });
  if (meeting == meetings.end()) {
    for (const Meeting& other : meetings) {
      if (!(other.arrived & mask) || !(other.mask & self)) continue;  // who waits for whom
      fault(show_thread(grid.current) + " is at the warp's collective " + show(place) +
            ", and lanes that it meets there wait at another or with another mask, " +
            show(other.place));
    }
    const int lanes = std::min(kLanes, static_cast<int>(grid.threads.size()) - first);
    if (lanes < kLanes && mask >> lanes != 0) {
      fault(show_thread(grid.current) + " waits at " + show(place) +
            " for lanes that its warp does not have");
    }
    meetings.push_back({collective, mask, 0, place});
    meeting = meetings.end() - 1;
  }
  thread.value = value;
  thread.source = source;
  meeting->arrived |= self;
  if (meeting->arrived == mask) {
    const Meeting complete = *meeting;
    meetings.erase(meeting);
    conclude(complete, first);
  } else {
    wait();
  }
  if (collective == Collective::sync) races::acquire(mark);
  return thread.value;
}

void run_grid(dim3 blocks, dim3 threads, size_t shared, const std::function<void()>& body) {
  const races::Unseen unseen;
  std::vector<uint32_t> order(size_t{blocks.x} * blocks.y * blocks.z);
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<uint32_t>(i);
    std::swap(order[i], order[random_below(static_cast<uint32_t>(i + 1))]);
  }
  if (grid.owner != std::this_thread::get_id()) {
    grid.idle.clear();
    grid.fibers.clear();
    grid.contexts.clear();
    grid.owner = std::this_thread::get_id();
  }
  // Exactly as many bytes as were asked for, so that sanitizers guard their end.
  std::unique_ptr<void, decltype(&std::free)> memory(nullptr, std::free);
  if (shared > 0) {
    void* raw = nullptr;
    if (posix_memalign(&raw, kSharedAlignment, shared) != 0) throw std::bad_alloc();
    memory.reset(raw);
  }
  grid.contexts.make(threads.x * threads.y * threads.z);
  grid.shared = static_cast<unsigned char*>(memory.get());
  grid.body = &body;
  grid.error = nullptr;
  gridDim = blocks;
  blockDim = threads;
  for (const uint32_t block : order) {
    blockIdx = {block % blocks.x, block / blocks.x % blocks.y, block / blocks.x / blocks.y};
    if (shared > 0) std::memset(grid.shared, junk_byte(), shared);
    try {
      run_block(threads);
    } catch (...) {
      grid.idle.clear();
      grid.fibers.clear();  // in the middle of something, some of them
      grid.contexts.clear();
      forget_asynchronous_work();
      throw;
    }
  }
}

}  // namespace gtn::emulated
