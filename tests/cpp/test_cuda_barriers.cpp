// Bulk copies and the barriers that count them, in the emulator: that it does what the PTX manual
// says, and shows what is wrong.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/instructions.hpp"
#include "device_array.hpp"

namespace {

using namespace gtn::cuda;  // NOLINT: its instructions
using emulation::Array;
using emulation::run;
using emulation::Setting;
using gtn::emulated::Fault;

// What a kernel below does wrong.
enum class Mistake {
  none,
  no_fence,        // the barriers are not shown to bulk copies
  not_made,        // the second barrier
  few_bytes,       // one copy brings 16 bytes fewer than are expected
  many_bytes,      // ... more
  parity,          // the reader always waits for phase 0
  phase_left_out,  // the reader leaves out the second round
  no_release,      // the reader never says that it is done
  early_release,   // the reader says so before it has read
  unaligned,       // the copies
  no_wait,         // for the last round
};

constexpr int kRounds = 4, kReaders = 32, kBytes = 256, kShared = 2 * kBytes + 16;

// Sums of the bytes of each round, which a thread brings by two bulk copies to one stage.
__global__ void bring_and_read(const unsigned char* from, int* sums, Mistake mistake) {
  unsigned char* stage = dynamic_shared();
  const uint32_t to = shared_address(stage), full = to + 2 * kBytes, empty = full + 8;
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    if (mistake != Mistake::not_made) barrier_init(empty, kReaders);
    if (mistake != Mistake::no_fence) fence_async_proxy();
  }
  __syncthreads();
  const int rounds = kRounds - (mistake == Mistake::no_wait);
  if (threadIdx.x == kReaders) {
    for (uint32_t round = 0; round < kRounds; ++round) {
      if (round > 0) barrier_wait(empty, (round - 1) % 2);
      barrier_arrive_expecting(full, 2 * kBytes);
      const unsigned char* source = from + 2 * kBytes * round + (mistake == Mistake::unaligned);
      const int off = mistake == Mistake::few_bytes ? -16 : mistake == Mistake::many_bytes ? 16 : 0;
      copy_bulk(to, source, static_cast<uint32_t>(kBytes + off), full);
      copy_bulk(to + kBytes, source + kBytes, kBytes, full);
    }
    return;
  }
  for (int round = 0; round < rounds; ++round) {
    if (mistake == Mistake::phase_left_out && round == 1) {
      barrier_arrive(empty);
      continue;
    }
    barrier_wait(full, mistake == Mistake::parity ? 0 : static_cast<uint32_t>(round) % 2);
    if (mistake == Mistake::early_release) {
      barrier_arrive(empty);
      __threadfence();  // where others may run
    }
    int sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kBytes; i += kReaders) sum += stage[i];
    atomicAdd(&sums[round], sum);
    if (mistake != Mistake::no_release && mistake != Mistake::early_release) barrier_arrive(empty);
  }
}

// Writes over a barrier.
__global__ void overwrite() {
  const uint32_t barrier = shared_address(dynamic_shared());
  barrier_init(barrier, 1);
  dynamic_shared()[3] ^= 1;
  barrier_arrive(barrier);
}

// Rounds whose sums differ from what was to be brought, or what the emulator says.
std::string outcome(Mistake mistake) {
  std::vector<unsigned char> bytes(2 * kBytes * kRounds + 32);
  std::vector<int> expected(kRounds);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(i * i % 251);
    if (i / (2 * kBytes) < kRounds) expected[i / (2 * kBytes)] += bytes[i];
  }
  const Array<unsigned char> from(bytes);
  const Array<int> sums(kRounds);
  try {
    run(bring_and_read, 1, kReaders + 1, kShared, from.data(), sums.data(), mistake);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return sums.get() == expected ? "right" : "wrong";
}

}  // namespace

TEST_CASE("bulk copies: what is waited for is there, in any order") {
  for (int seed = 1; seed <= 20; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    CHECK(outcome(Mistake::none) == "right");
  }
}

TEST_CASE("bulk copies: each mistake is an error that says which") {
  for (int seed = 1; seed <= 5; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    const auto says = [](Mistake mistake, const std::string& expected) {
      const std::string got = outcome(mistake);
      CHECK_MESSAGE(got.find(expected) != std::string::npos, got);
    };
    says(Mistake::no_fence, "before its mbarrier was shown by fence.proxy.async");
    says(Mistake::not_made, "mbarrier: used before it was made");
    says(Mistake::few_bytes, "33 at a phase of an mbarrier that does not end");
    says(Mistake::many_bytes, "33 at a phase of an mbarrier that does not end");
    says(Mistake::parity, "mbarrier: a wait for a phase out of turn");
    says(Mistake::phase_left_out, "mbarrier");
    says(Mistake::no_release, "at a phase of an mbarrier that does not end");
    says(Mistake::unaligned, "a bulk copy from where not aligned");
    says(Mistake::no_wait, "a bulk copy that nobody waited for");
    CHECK_THROWS_WITH_AS(run(overwrite, 1, 1, 8), "mbarrier: something wrote over it", Fault);
  }
  // Memory that is brought to before it was read: other sums, under some order of threads.
  int wrong = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    wrong += outcome(Mistake::early_release) != "right";
  }
  CHECK(wrong > 0);
}
