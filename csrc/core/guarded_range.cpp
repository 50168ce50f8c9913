#include "core/guarded_range.hpp"

#ifdef _WIN32

namespace gtn {

GuardedRange::GuardedRange(uintptr_t, size_t) {}
GuardedRange::~GuardedRange() = default;
bool GuardedRange::broken() const {
  return false;
}

}  // namespace gtn

#else

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace gtn {
namespace {

struct Slot {
  std::atomic<uintptr_t> begin{0};  // 0: free. Written last, and cleared first.
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> broken{false};
};

// The handler reads these: no lock, and nothing that is ever destroyed.
constexpr int kSlots = 64;
constinit Slot slots[kSlots];
static_assert(std::atomic<uintptr_t>::is_always_lock_free);
std::atomic<uintptr_t> page_size{4096};

// Of registration alone.
constinit std::mutex registering;
int registered = 0;
struct sigaction previous;
// A handler that someone put in place of ours. It may call ours, so that to install ours above it
// again could make a loop: it stays, and no range is guarded.
void (*above_ours)(int, siginfo_t*, void*) = nullptr;

// Puts zeros from the page of `address` to the end of the range, and marks all ranges that hold the
// address: a file is cut at its end, so that all later pages are gone too.
bool replace_by_zeros(uintptr_t address) {
  uintptr_t end = 0;
  for (Slot& slot : slots) {
    const uintptr_t begin = slot.begin.load();
    const uintptr_t its_end = slot.end.load();
    if (begin == 0 || address < begin || address >= its_end || slot.begin.load() != begin) continue;
    slot.broken.store(true);
    end = its_end;
  }
  if (end == 0) return false;
  const uintptr_t page = address & ~(page_size.load() - 1);
  return mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void on_sigbus(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const bool of_memory = info->si_code == BUS_ADRERR;
  if (of_memory && replace_by_zeros(reinterpret_cast<uintptr_t>(info->si_addr))) {
    errno = error;
    return;
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {  // what the system would have done, as soon as this handler returns
    sigaction(number, &previous, nullptr);
    if (of_memory || previous.sa_handler == SIG_DFL) raise(number);
  }
  errno = error;
}

bool is_ours(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &on_sigbus;
}

void install() {
  struct sigaction current{};
  if (sigaction(SIGBUS, nullptr, &current) != 0 || is_ours(current)) return;
  if (above_ours != nullptr && current.sa_sigaction == above_ours) return;
  struct sigaction action{};
  action.sa_sigaction = &on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  previous = current;
  sigaction(SIGBUS, &action, nullptr);
}

void uninstall() {
  struct sigaction current{};
  if (sigaction(SIGBUS, nullptr, &current) != 0) return;
  if (is_ours(current)) {
    sigaction(SIGBUS, &previous, nullptr);
  } else {
    above_ours = current.sa_sigaction;
  }
}

}  // namespace

GuardedRange::GuardedRange(uintptr_t begin, size_t bytes) {
  if (begin == 0 || bytes == 0) return;
  const std::lock_guard lock(registering);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  page_size.store(page);
  for (int i = 0; i < kSlots && slot_ < 0; ++i) {
    if (slots[i].begin.load() == 0) slot_ = i;
  }
  if (slot_ < 0) return;
  if (registered++ == 0) install();
  Slot& slot = slots[slot_];
  slot.broken.store(false);
  slot.end.store((begin + bytes + page - 1) & ~(page - 1));
  slot.begin.store(begin & ~(page - 1));
}

GuardedRange::~GuardedRange() {
  if (slot_ < 0) return;
  const std::lock_guard lock(registering);
  slots[slot_].begin.store(0);
  if (--registered == 0) uninstall();
}

bool GuardedRange::broken() const {
  return slot_ >= 0 && slots[slot_].broken.load();
}

}  // namespace gtn

#endif
