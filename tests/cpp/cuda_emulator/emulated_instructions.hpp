// csrc/cuda/instructions.hpp for the emulator: the same functions, doing in C++ what the PTX manual
// says of each instruction. What is asynchronous on a device happens as late as a wait allows or as
// early as it was committed, drawn anew each time, so that a wait that is missing or comes after
// memory is used again shows. A matrix instruction that is used against the manual is a Fault.
#pragma once

#include <cstdint>

#include "arithmetic.hpp"
#include "threads.hpp"

#define GTN_EMULATED_PLACE gtn::emulated::Place place = {__builtin_FILE(), __builtin_LINE()}

namespace gtn::emulated {

// What lies at an address in shared memory. A Fault if that is not aligned.
unsigned char* shared_pointer(uint32_t address, uint32_t alignment);

void copy_async(uint32_t to, const void* from);
void copy_async_commit();
void copy_async_wait(int groups);
void wgmma_fence(Place place);
void wgmma_commit();
void wgmma_wait(int groups);
// Faults if a product that is not done writes these sums.
void wgmma_require_done(const void* sums);

// --- barriers.cpp ---

// Shows bulk copies the barriers that this thread made.
void show_barriers();
// After a block: a Fault if bulk copies are left that nobody waited for.
void end_barriers();
void forget_barriers();

}  // namespace gtn::emulated

namespace gtn::cuda {

inline int32_t max3(int32_t a, int32_t b, int32_t c) {
  return __vimax3_s32(a, b, c);
}

inline int32_t mask_or(int32_t a, int32_t mask, int32_t b) {
  return (a & mask) | b;
}

// Addresses in dynamic shared memory alone.
uint32_t shared_address(const void* pointer);

inline void copy_async(uint32_t to, const void* from) {
  emulated::copy_async(to, from);
}
void store_zeros(uint32_t to);
inline void copy_async_commit() {
  emulated::copy_async_commit();
}
template <int kGroups>
void copy_async_wait() {
  emulated::copy_async_wait(kGroups);
}

void load_matrices(uint32_t (&to)[4], uint32_t row, GTN_EMULATED_PLACE);
void multiply_8x8x16(int32_t& sum0, int32_t& sum1, uint32_t a, uint32_t b, GTN_EMULATED_PLACE);
void multiply_16x8x32(int32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                      GTN_EMULATED_PLACE);
void multiply_16x8x16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                      GTN_EMULATED_PLACE);

#define GTN_WGMMA
// Registers are not emulated: these are for the assembler.
template <int kRegisters>
void give_registers() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
}
template <int kRegisters>
void take_registers() {
  give_registers<kRegisters>();
}

void fence_async_proxy();

// Stricter than hardware: a thread that waits at a barrier waits once for each of its phases.
void barrier_init(uint32_t barrier, uint32_t arrivals);
void barrier_arrive(uint32_t barrier);
void barrier_arrive_expecting(uint32_t barrier, uint32_t bytes);
void barrier_wait(uint32_t barrier, uint32_t parity);
void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);

template <class Sum>
void wgmma_fence(Sum (&)[64], GTN_EMULATED_PLACE) {
  emulated::wgmma_fence(place);
}
void wgmma_64x128x32(int32_t (&sums)[64], uint64_t a, uint64_t b, bool add, GTN_EMULATED_PLACE);
void wgmma_64x128x16(float (&sums)[64], uint64_t a, uint64_t b, bool add, GTN_EMULATED_PLACE);
inline void wgmma_commit() {
  emulated::wgmma_commit();
}
template <int kGroups, class... Sums>
void wgmma_wait(Sums&... sums) {
  emulated::wgmma_wait(kGroups);
  (emulated::wgmma_require_done(sums), ...);
}

}  // namespace gtn::cuda

#undef GTN_EMULATED_PLACE
