// What the environment asks of the emulator, read anew at each use, so that a test may set it at
// any time; and the random numbers that are drawn from its seed.
//
//   GTN_EMULATOR_SEED        orders of threads and blocks, junk in fresh memory; default 1
//   GTN_EMULATOR_DEVICES     number of devices; default 1
//   GTN_EMULATOR_CAPABILITY  their compute capability, 10 * major + minor; default 80
//   GTN_EMULATOR_MEMORY      bytes of memory of each; default 1 GiB
//   GTN_EMULATOR_FAIL        "cudaMalloc:3" or "cudaMalloc:3:cudaErrorUnknown": the third call of
//                            cudaMalloc from now on returns that error (by default the one that is
//                            usual for the function); with 0 for the number, every call does
//   GTN_EMULATOR_LIE         "3": tensor cores are broken from the third launch on that uses them.
//                            All products of a block's first warp are zero. "short:3": the same of
//                            bulk copies of a kilobyte or more, which bring half of their bytes and
//                            count all; "early:3": they count them before they are there
//   GTN_EMULATOR_LIE_FLOAT   "3": the third launch that multiplies and adds float32 in one step,
//                            and no other, loses those products of each block's first warp
#pragma once

#include <cstdint>

#include "types.hpp"

namespace gtn::emulated {

// Starts the random numbers anew if the seed was changed: called at each launch.
void reseed_if_asked();
uint64_t random_bits();
uint32_t random_below(uint32_t bound);
// A byte to fill memory with that nothing has been written to yet: as numbers of any type it makes
// something that stands out.
int junk_byte();

enum class Lie { products, short_copies, early_copies };
// True if the running grid's tensor cores or bulk copies are broken so: asked at every use.
bool lies(Lie what);
// The same of float32 products that are added in one step.
bool fused_products_lie();
// Counts a launch.
void note_launch();

int device_count();
int capability();
size_t device_memory();
// What a call of this runtime function is to return without doing anything; cudaSuccess: let it be.
cudaError_t injected_failure(const char* function);

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
const ErrorText& describe(cudaError_t error);

}  // namespace gtn::emulated
