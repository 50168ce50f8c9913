// Barriers in shared memory (mbarrier) and bulk copies that they count. A copy happens when it is
// begun, or as late as a thread waits for the phase that counts it, in any order with others. What
// hardware leaves undefined, or would wait for forever, is a Fault. So is a thread that waits for a
// phase again or leaves one out: a parity says no more than "this one or the one before".
#include <cstring>
#include <map>
#include <vector>

#include "emulated_instructions.hpp"
#include "races.hpp"
#include "settings.hpp"

namespace gtn::emulated {

namespace {

constexpr uint32_t kMostArrivals = (1 << 20) - 1;  // and bytes of a phase
// A copy is done when it is begun, once in so many times.
constexpr uint32_t kEarlyOdds = 4;
// Shorter ones never lie: what they bring may be an address.
constexpr uint32_t kLeastLie = 1024;

struct Copy {
  unsigned char* to;
  const void* from;
  uint32_t bytes;
  uint32_t to_count;  // when they are there
};

struct Barrier {
  uint32_t arrivals = 0, missing = 0;  // of the current phase
  int64_t bytes = 0;                   // that are expected and not there
  int64_t phase = 0;
  int maker = 0;
  bool shown = false;             // to bulk copies
  std::vector<Copy> copies;       // that are begun and not done
  std::map<int, int64_t> waited;  // phases that each thread has waited for
  char mark = 0;                  // for the thread sanitizer

  // What lies in shared memory, so that a barrier shows that is written over.
  uint64_t word() const {
    return 0x6d62617272696572u ^ (static_cast<uint64_t>(phase) << 40) ^
           (static_cast<uint64_t>(missing) << 20) ^ static_cast<uint64_t>(bytes);
  }
};
std::map<uint32_t, Barrier>& barriers() {
  static std::map<uint32_t, Barrier> all;  // of the block that runs
  return all;
}

void store(uint32_t address, const Barrier& barrier) {
  const uint64_t word = barrier.word();
  std::memcpy(shared_pointer(address, sizeof word), &word, sizeof word);
}

Barrier& find(uint32_t address) {
  uint64_t word = 0;
  std::memcpy(&word, shared_pointer(address, sizeof word), sizeof word);
  const auto found = barriers().find(address);
  if (found == barriers().end()) throw Fault("mbarrier: used before it was made");
  if (word != found->second.word()) throw Fault("mbarrier: something wrote over it");
  return found->second;
}

// The phase may have ended.
void settle(uint32_t address, Barrier& barrier) {
  if (barrier.bytes > kMostArrivals || -barrier.bytes > kMostArrivals)
    throw Fault("mbarrier: more bytes than it can count");
  if (barrier.missing == 0 && barrier.bytes == 0) {
    ++barrier.phase;
    barrier.missing = barrier.arrivals;
    wake(&barrier);
  }
  store(address, barrier);
}

// One of the copies that are begun.
void do_copy(uint32_t address, Barrier& barrier) {
  const uint32_t which = random_below(static_cast<uint32_t>(barrier.copies.size()));
  const Copy copy = barrier.copies[which];
  barrier.copies.erase(barrier.copies.begin() + which);
  std::memcpy(copy.to, copy.from, copy.bytes);
  barrier.bytes -= copy.to_count;
  settle(address, barrier);
}

void arrive(uint32_t address, uint32_t expected) {
  const races::Unseen unseen;
  Barrier& barrier = find(address);
  races::release(barrier.mark);
  if (barrier.missing == 0) throw Fault("mbarrier: more arrivals in a phase than it was made for");
  barrier.bytes += expected;
  --barrier.missing;
  settle(address, barrier);
}

}  // namespace

void show_barriers() {
  for (auto& [address, barrier] : barriers()) barrier.shown |= barrier.maker == current_thread();
}

void end_barriers() {
  bool left = false;
  for (const auto& [address, barrier] : barriers()) left |= !barrier.copies.empty();
  barriers().clear();
  if (left && !lies(Lie::early_copies)) throw Fault("a bulk copy that nobody waited for");
}

void forget_barriers() {
  barriers().clear();
}

}  // namespace gtn::emulated

namespace gtn::cuda {

using namespace emulated;  // NOLINT: these are its functions under the kernels' names

void barrier_init(uint32_t barrier, uint32_t arrivals) {
  const races::Unseen unseen;
  if (arrivals < 1 || arrivals > kMostArrivals) throw Fault("mbarrier: a count out of range");
  Barrier made;
  made.arrivals = made.missing = arrivals;
  made.maker = current_thread();
  store(barrier, made);
  barriers().insert_or_assign(barrier, made);
}

void barrier_arrive(uint32_t barrier) {
  arrive(barrier, 0);
}
void barrier_arrive_expecting(uint32_t barrier, uint32_t bytes) {
  arrive(barrier, bytes);
}

void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  const races::Unseen unseen;
  Barrier& counts = find(barrier);
  if (!counts.shown) throw Fault("a bulk copy before its mbarrier was shown by fence.proxy.async");
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0 || bytes % 16 != 0 || bytes == 0)
    throw Fault("a bulk copy from where not aligned, or of no multiple of 16 bytes");
  Copy copy{shared_pointer(to, 16), from, bytes, bytes};
  if (bytes >= kLeastLie && lies(Lie::short_copies)) copy.bytes /= 2;
  if (bytes >= kLeastLie && lies(Lie::early_copies)) {
    copy.to_count = 0;
    counts.bytes -= bytes;
  }
  counts.copies.push_back(copy);
  if (random_below(kEarlyOdds) == 0) do_copy(barrier, counts);
  wake(&counts);  // to do the copy
  settle(barrier, counts);
}

void barrier_wait(uint32_t barrier, uint32_t parity) {
  const races::Unseen unseen;
  for (;;) {
    Barrier& waits = find(barrier);
    if (waits.phase % 2 != parity) break;  // the one before the current one: it has ended
    if (waits.copies.empty()) {
      park(&waits);
    } else {
      do_copy(barrier, waits);
    }
  }
  Barrier& waited = find(barrier);
  int64_t& phases = waited.waited[current_thread()];
  if (waited.phase != ++phases) throw Fault("mbarrier: a wait for a phase out of turn");
  races::acquire(waited.mark);
}

}  // namespace gtn::cuda
