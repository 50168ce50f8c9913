// GuardedRange: memory that maps a file, guarded while it is read. Reading behind the end of a file
// that was truncated meanwhile raises SIGBUS, which ends a process. In a guarded range the pages
// become zeros instead, and the range is marked as broken; whoever reads it asks afterwards.
//
// As libwayland does for its clients' buffers. The signal's handler is installed while there are
// ranges. Every other SIGBUS goes to the handler that was there before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gtn {

class GuardedRange {
 public:
  // Guards whole pages around `bytes` bytes at `begin`. Beyond 64 ranges at a time, and where there
  // is no SIGBUS (Windows), nothing is guarded.
  GuardedRange(uintptr_t begin, size_t bytes);
  ~GuardedRange();
  GuardedRange(const GuardedRange&) = delete;
  GuardedRange& operator=(const GuardedRange&) = delete;

  // True if zeros have taken the place of pages that could not be read.
  bool broken() const;

 private:
  int slot_ = -1;
};

}  // namespace gtn
