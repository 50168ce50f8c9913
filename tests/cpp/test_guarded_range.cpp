// GuardedRange: a truncated file reads as zeros and is reported, other faults go where they went.
#include <doctest/doctest.h>

#ifndef _WIN32

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/guarded_range.hpp"

namespace {

const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));

// A file of ones, mapped; removed at once.
class MappedFile {
 public:
  explicit MappedFile(size_t pages) : bytes_(pages * page) {
    std::string name = "/tmp/gtn_guarded_range_XXXXXX";
    file_ = mkstemp(name.data());
    REQUIRE(file_ >= 0);
    unlink(name.c_str());
    const std::vector<char> ones(bytes_, 1);
    REQUIRE(write(file_, ones.data(), bytes_) == static_cast<ssize_t>(bytes_));
    void* memory = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_, 0);
    REQUIRE(memory != MAP_FAILED);
    memory_ = static_cast<const char*>(memory);
  }
  ~MappedFile() {
    munmap(const_cast<char*>(memory_), bytes_);
    close(file_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void truncate(size_t pages) { REQUIRE(ftruncate(file_, static_cast<off_t>(pages * page)) == 0); }
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(memory_); }
  size_t bytes() const { return bytes_; }
  int operator[](size_t p) const { return *static_cast<const volatile char*>(memory_ + p * page); }

 private:
  size_t bytes_;
  int file_ = -1;
  const char* memory_ = nullptr;
};

volatile sig_atomic_t seen = 0;
char* to_mend = nullptr;

void mend(int, siginfo_t*, void*) {
  seen = seen + 1;
  mmap(to_mend, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

bool mend_is_installed() {
  struct sigaction action{};
  sigaction(SIGBUS, nullptr, &action);
  return action.sa_sigaction == &mend;
}

}  // namespace

TEST_CASE("pages behind the end of a truncated file read as zeros, and the range is broken") {
  MappedFile file(4);
  const gtn::GuardedRange range(file.address(), file.bytes());
  CHECK(file[3] == 1);
  CHECK_FALSE(range.broken());
  file.truncate(1);
  CHECK(file[0] == 1);
  CHECK_FALSE(range.broken());
  CHECK(file[2] == 0);
  CHECK(file[3] == 0);
  CHECK(range.broken());
}

TEST_CASE("all ranges over the same memory are broken, others are not") {
  MappedFile file(2), other(2);
  const gtn::GuardedRange first(file.address() + 5, file.bytes() - 10),
      untouched(other.address(), 1);
  const gtn::GuardedRange second(file.address(), file.bytes());
  file.truncate(0);
#ifdef __SANITIZE_THREAD__
  constexpr int kReaders = 1;  // it takes the new mapping, made for each reader, for a write
#else
  constexpr int kReaders = 4;
#endif
  std::vector<std::thread> readers;
  for (int t = 0; t < kReaders; ++t) readers.emplace_back([&] { CHECK(file[1] == 0); });
  for (auto& reader : readers) reader.join();
  CHECK(first.broken());
  CHECK(second.broken());
  CHECK_FALSE(untouched.broken());
}

TEST_CASE("the handler that was there before gets all other faults, and comes back") {
  struct sigaction theirs{}, before{};
  theirs.sa_sigaction = &mend;
  theirs.sa_flags = SA_SIGINFO;
  REQUIRE(sigaction(SIGBUS, &theirs, &before) == 0);
  seen = 0;
  MappedFile guarded(1), other(1);
  {
    const gtn::GuardedRange range(guarded.address(), guarded.bytes());
    CHECK_FALSE(mend_is_installed());
    other.truncate(0);
    to_mend = reinterpret_cast<char*>(other.address());
    CHECK(other[0] == 0);
    CHECK(seen == 1);
    CHECK_FALSE(range.broken());
  }
  CHECK(mend_is_installed());
  // One that was put in place of ours stays, and a later range makes no loop of the two.
  {
    const gtn::GuardedRange range(guarded.address(), guarded.bytes());
    REQUIRE(sigaction(SIGBUS, &theirs, nullptr) == 0);
  }
  {
    const gtn::GuardedRange range(guarded.address(), guarded.bytes());
    CHECK(mend_is_installed());
  }
  sigaction(SIGBUS, &before, nullptr);
}

TEST_CASE("more ranges than there is room for are not guarded") {
  MappedFile file(1);
  std::vector<std::unique_ptr<gtn::GuardedRange>> ranges;
  for (int i = 0; i < 70; ++i) {
    ranges.push_back(std::make_unique<gtn::GuardedRange>(file.address(), file.bytes()));
  }
  file.truncate(0);
  CHECK(file[0] == 0);
  CHECK(ranges.front()->broken());
  CHECK_FALSE(ranges.back()->broken());
}

#endif
