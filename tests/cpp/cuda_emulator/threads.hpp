// The grid as a kernel sees it: indices, barriers, warp collectives, atomics. Every
// thread of a block is a fiber, run in an order drawn at random (grid.cpp). Barriers and
// collectives know their place in the source: threads that meet at different ones are an error, as
// is a thread that returns while others wait for it, stricter than hardware.
#pragma once

#include <concepts>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <type_traits>

#include "types.hpp"

namespace gtn::emulated {

// A kernel did what CUDA leaves undefined. The grid is given up.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Where in the source a thread waits.
struct Place {
  const char* file;
  unsigned line;
};

// Runs the body once for every thread of the grid. shared: bytes of dynamic shared memory.
void run_grid(dim3 blocks, dim3 threads, size_t shared, const std::function<void()>& body);

// After a block: a Fault if its threads leave work that they had to wait for.
void end_asynchronous_work();
// After a fault: drops what the threads of a grid had begun and not waited for.
void forget_asynchronous_work();

// The current thread waits until another wakes all that wait for the same. Both are for the
// emulator's own code, which the thread sanitizer does not look at.
void park(const void* what);
void wake(const void* what);
// Its number in its block.
int current_thread();

// The block's dynamic shared memory, aligned to 128 bytes and of exactly the size asked for.
unsigned char* dynamic_shared();

// May let other threads run: wherever a thread may look for what others do.
void progress();
void fence();

struct Counts {
  int nonzero, all;
};
Counts block_barrier(Place place, int value);

enum class Collective { sync, shuffle, ballot, match, greatest_signed, greatest_unsigned };
// For a shuffle: the value of lane `source`; others combine the values of all lanes of the mask.
uint64_t warp_collective(Collective collective, unsigned mask, uint64_t value, int source,
                         Place place);
int lane();

template <class T>
concept Word = std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);

template <Word T>
T shuffle(unsigned mask, T value, int source, Place place) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_collective(Collective::shuffle, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T, class Change>
T atomic_update(T* address, Change change) {
  progress();
  T old, wanted;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    wanted = change(old);
  } while (!__atomic_compare_exchange(address, &old, &wanted, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED));
  return old;
}

template <class T, class... Of>
concept OneOf = (std::same_as<T, Of> || ...);
// The types that CUDA's atomics take; int64_t and uint64_t of Linux are not among them.
template <class T>
concept AtomicInteger = OneOf<T, int, unsigned, unsigned long long>;
template <class T>
concept AtomicOrdered = AtomicInteger<T> || std::same_as<T, long long>;
template <class T>
concept AtomicNumber = AtomicInteger<T> || OneOf<T, float, double>;

}  // namespace gtn::emulated

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

#define GTN_HERE gtn::emulated::Place place = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(GTN_HERE) {
  gtn::emulated::block_barrier(place, 0);
}
inline int __syncthreads_or(int predicate, GTN_HERE) {
  return gtn::emulated::block_barrier(place, predicate).nonzero > 0;
}
inline int __syncthreads_and(int predicate, GTN_HERE) {
  const auto counts = gtn::emulated::block_barrier(place, predicate);
  return counts.nonzero == counts.all;
}
inline int __syncthreads_count(int predicate, GTN_HERE) {
  return gtn::emulated::block_barrier(place, predicate).nonzero;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, GTN_HERE) {
  gtn::emulated::warp_collective(gtn::emulated::Collective::sync, mask, 0, 0, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, GTN_HERE) {
  return static_cast<unsigned>(gtn::emulated::warp_collective(gtn::emulated::Collective::ballot,
                                                              mask, predicate != 0, 0, place));
}
inline int __any_sync(unsigned mask, int predicate, GTN_HERE) {
  return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, GTN_HERE) {
  return __ballot_sync(mask, predicate, place) == mask;
}
template <gtn::emulated::Word T>
unsigned __match_any_sync(unsigned mask, T value, GTN_HERE) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return static_cast<unsigned>(
      gtn::emulated::warp_collective(gtn::emulated::Collective::match, mask, bits, 0, place));
}
inline int __reduce_max_sync(unsigned mask, int value, GTN_HERE) {
  return static_cast<int>(
      gtn::emulated::warp_collective(gtn::emulated::Collective::greatest_signed, mask,
                                     static_cast<uint64_t>(static_cast<int64_t>(value)), 0, place));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, GTN_HERE) {
  return static_cast<unsigned>(gtn::emulated::warp_collective(
      gtn::emulated::Collective::greatest_unsigned, mask, value, 0, place));
}

// Shuffles: lanes move within segments of `width` lanes; a source outside of one is the lane
// itself.
template <gtn::emulated::Word T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, GTN_HERE) {
  const int start = gtn::emulated::lane() & ~(width - 1);
  return gtn::emulated::shuffle(mask, value, start | (source & (width - 1)), place);
}
template <gtn::emulated::Word T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GTN_HERE) {
  const int lane = gtn::emulated::lane(), source = lane - static_cast<int>(delta);
  return gtn::emulated::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, place);
}
template <gtn::emulated::Word T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GTN_HERE) {
  const int lane = gtn::emulated::lane(), source = lane + static_cast<int>(delta);
  return gtn::emulated::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, place);
}
template <gtn::emulated::Word T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, GTN_HERE) {
  const int lane = gtn::emulated::lane(), source = lane ^ lanes;
  return gtn::emulated::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, place);
}
#undef GTN_HERE

inline void __threadfence() {
  gtn::emulated::fence();
}
inline void __threadfence_block() {
  gtn::emulated::fence();
}

template <gtn::emulated::AtomicNumber T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  // Integers wrap around as CUDA's do.
  return gtn::emulated::atomic_update(address, [=](T old) -> T {
    if constexpr (std::same_as<T, int>) {
      return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value));
    } else {
      return old + value;
    }
  });
}
template <gtn::emulated::AtomicOrdered T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address, [=](T old) { return value < old ? value : old; });
}
template <gtn::emulated::AtomicOrdered T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address, [=](T old) { return value > old ? value : old; });
}
template <gtn::emulated::AtomicInteger T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address, [=](T old) { return old | value; });
}
template <gtn::emulated::AtomicInteger T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address, [=](T old) { return old & value; });
}
template <class T>
  requires gtn::emulated::AtomicInteger<T> || std::same_as<T, float>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address, [=](T) { return value; });
}
template <gtn::emulated::AtomicInteger T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return gtn::emulated::atomic_update(address,
                                      [=](T old) { return old == expected ? value : old; });
}
