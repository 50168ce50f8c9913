// The scan: for every source of a window and every group of latents an upper bound of the cosine of
// all its members, from integer codes. Nothing but these bounds is written; no score matrix exists.
// One file a kernel (scan_<name>.cu); all give the same bits.
//
// A latent x of a cell with centre c has v = x/|x| - c ~ step * code, a source y has
// y/|y| ~ step_y * code_y. By Cauchy-Schwarz, with sum the integer dot product of the codes,
//   <y/|y|, x/|x|>  <=  base + step_y step sum + |coded y| residual + |y residual| radius
// with base = <y/|y|, c> and what rounding may add, residual >= |v - step code|, radius >= |v| of
// every member of the group.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/code_order.hpp"
#include "cuda/slots.hpp"

namespace gtn::cuda {

// All floats here are rounded up. Steps have at most 12 significant bits, so that the product of
// two is exact in float32. Aligned so that one instruction moves one.
struct alignas(16) GroupCode {
  float step;
  float residual;
  float radius;
  int32_t cell;
};
struct alignas(16) SourceCode {
  float step;
  float coded_norm;  // >= |step * code|
  float residual;    // >= |y/|y| - step * code|
};

// Codes lie in the kernel's order (code_order.hpp).
struct ScanTask {
  const int8_t* source_codes;  // [source_rows][stride], zero rows past source_count
  const SourceCode* sources;   // [source_rows]
  const float* base;           // [cells][source_rows]
  const int8_t* latent_codes;  // [superpanels * slots.superpanel_slots()][stride]
  const GroupCode* groups;     // [superpanels * kTileGroups]
  float* upper;                // [source_count][superpanels * kTileGroups], the result
  int32_t* others;  // the same of groups with names (largest_sums.hpp); null where they have none
  int32_t source_count;
  int32_t source_rows;  // source_count rounded up to a multiple of kSourceRows
  int32_t stride;       // bytes of a row of codes: dim rounded up to a multiple of kStrideBytes
  int32_t superpanels;
  Slots slots;
};
constexpr int kSourceRows = 256;
constexpr int kNamedMembers = 32;  // of a group with names
constexpr int kNamedTiles = kNamedMembers / kTileMembers;

#if defined(__CUDACC__) || defined(GTN_CUDA_EMULATED)

// Rounded up, whatever the signs. (sum must fit int32: codes are at most 127 in size.)
__device__ inline float upper_cosine(int32_t sum, float base, const GroupCode& g,
                                     const SourceCode& s) {
  const float error = __fmaf_ru(s.coded_norm, g.residual, __fmul_ru(s.residual, g.radius));
  return __fadd_ru(__fmaf_ru(__int2float_ru(sum), s.step * g.step, base), error);
}

#endif

// One way to scan.
struct ScanKernel {
  const char* name;
  const char* description;
  int least_capability;  // 10 * major + minor of the compute capability
  int most_capability;   // 0: no limit. Code for one architecture (90a) runs nowhere else
  void (*scan)(const ScanTask& task, int multiprocessors, cudaStream_t stream);
  bool built = true;  // false: the architectures that were built lack its instructions
  CodeOrder order = CodeOrder::rows;  // of the codes that it reads
};

extern const ScanKernel scan_dp4a;   // integer instructions of any GPU; what others are held to
extern const ScanKernel scan_mma;    // int8 tensor cores, mma.sync: 7.5 and later
extern const ScanKernel scan_wgmma;  // int8 tensor cores, wgmma: 9.0

}  // namespace gtn::cuda
