// Instructions that CUDA C++ has no name for, one wrapper each and nothing else. The emulator of
// the tests brings its own, which do in C++ what the PTX manual says; kernels see no difference.
// Fragments are named by lane l of a warp, as in the manual's figures.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef GTN_CUDA_EMULATED
#include "emulated_instructions.hpp"
#else

namespace gtn::cuda {

// An address in shared memory, as the instructions below take it.
__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// max(a, b, c): one instruction on 9.0 and later.
__device__ inline int32_t max3(int32_t a, int32_t b, int32_t c) {
  return __vimax3_s32(a, b, c);
}

// (a & mask) | b in one instruction, also where mask and b are constants.
__device__ inline int32_t mask_or(int32_t a, int32_t mask, int32_t b) {
  int32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(mask), "r"(b));
  return d;
}

// --- Copies of 16 aligned bytes from global to shared memory ---------------------------------
// Copies between two commits are a group; wait<n>() returns when all but the last n groups of this
// thread have arrived. Before 8.0 a copy is done when it returns.

__device__ inline void copy_async(uint32_t to, const void* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to),
               "l"(__cvta_generic_to_global(from))
               : "memory");
#else
  const uint4 v = __ldg(static_cast<const uint4*>(from));
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
#endif
}

__device__ inline void store_zeros(uint32_t to) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
}

__device__ inline void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kGroups>
__device__ inline void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

// --- Matrices of a warp ------------------------------------------------------------------------

// Four matrices of 8 rows of 16 bytes: lane l names row l % 8 of matrix l / 8, and gets bytes
// 4 (l % 4) to 4 (l % 4) + 3 of row l / 4 of each.
__device__ inline void load_matrices(uint32_t (&to)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// sum += a b for int8, 8 x 16 by 16 x 8. a: row l / 4, columns from 4 (l % 4); b: column l / 4,
// rows from 4 (l % 4); sum: row l / 4, columns 2 (l % 4) and the next.
__device__ inline void multiply_8x8x16(int32_t& sum0, int32_t& sum1, uint32_t a, uint32_t b) {
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
      : "+r"(sum0), "+r"(sum1)
      : "r"(a), "r"(b));
}

// The same, 16 x 32 by 32 x 8. a: rows l / 4 (a[0], a[2]) and l / 4 + 8 (a[1], a[3]), columns from
// 4 (l % 4), in a[2] and a[3] 16 more; b1: as b0, 16 rows on; sum[2], sum[3]: row l / 4 + 8.
__device__ inline void multiply_16x8x32(int32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  multiply_8x8x16(sum[0], sum[1], a[0], b0);
  multiply_8x8x16(sum[2], sum[3], a[1], b0);
  multiply_8x8x16(sum[0], sum[1], a[2], b1);
  multiply_8x8x16(sum[2], sum[3], a[3], b1);
#endif
}

// sum += a b for float16, 16 x 16 by 16 x 8, with float32 sums. a: rows l / 4 (a[0], a[2]) and
// l / 4 + 8 (a[1], a[3]), columns 2 (l % 4) and the next, in a[2] and a[3] 8 more; b0: column l /
// 4, rows 2 (l % 4) and the next; b1: 8 rows on; sum: as above.
__device__ inline void multiply_16x8x16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  for (int k = 0; k < 2; ++k) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(k == 0 ? b0 : b1));
  }
#endif
}

// Where GTN_WGMMA is defined, all below: in code for 9.0a, which no other device runs.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define GTN_WGMMA

// Registers that each thread of this warpgroup (four warps, all of which say so) has from here on:
// fewer, or more when others gave theirs.
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Orders what ordinary instructions and cp.async wrote to shared memory before what wgmma and bulk
// copies do there ("async proxy").
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- Bulk copies, and barriers in shared memory that count their bytes --------------------------
// A phase of a barrier ends when so many threads have arrived as it was made for, and all bytes
// that were expected are there. Phases are 0, 1, 0, ... in turn.

// By one thread, which then shows it to bulk copies by fence_async_proxy and to others by a
// __syncthreads.
__device__ inline void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ inline void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and expects so many bytes more in this phase.
__device__ inline void barrier_arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Waits until the current phase, or the one before it, has ended: the one of this parity.
__device__ inline void barrier_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{.reg .pred done; mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2; "
        "selp.b32 %0, 1, 0, done;}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (done == 0);
}

// Copies bytes, a multiple of 16, from global to shared memory, both aligned to 16, and counts them
// at a barrier when they are there.
__device__ inline void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
      : "memory");
}

// --- wgmma: matrices in shared memory, multiplied by four warps --------------------------------

// Ties the registers of sums to this place: no compiler may move a read or a write of them across.
// A product is at work on them long after its instruction, of which a compiler knows nothing.
__device__ inline void hold(int32_t (&s)[64]) {
#pragma unroll
  for (int i = 0; i < 64; ++i) asm volatile("" : "+r"(s[i])::"memory");
}
__device__ inline void hold(float (&s)[64]) {
#pragma unroll
  for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(s[i])::"memory");
}

// Before the first product of a group, with the sums of all its products: what this thread did to
// them is done.
template <class Sum>
__device__ inline void wgmma_fence(Sum (&sums)[64]) {
  hold(sums);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Products between two commits are a group; wait<n>(sums...) returns when all but the last n are
// done, with the sums that this thread will read next.
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kGroups, class... Sums>
__device__ inline void wgmma_wait(Sums&... sums) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
  (hold(sums), ...);
}

// sums = a b, or sums + a b if `add`, for int8, 64 x 32 by 32 x 128; a and b: descriptors of both,
// rows of a and columns of b along memory. Lane l of warp w (of four) has
// s[4 j + 2 h + i]: row 16 w + l / 4 + 8 h, column 8 j + 2 (l % 4) + i.
__device__ inline void wgmma_64x128x32(int32_t (&s)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{.reg .pred add; setp.ne.b32 add, %66, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, add;}"
      : "+r"(s[0]), "+r"(s[1]), "+r"(s[2]), "+r"(s[3]), "+r"(s[4]), "+r"(s[5]), "+r"(s[6]),
        "+r"(s[7]), "+r"(s[8]), "+r"(s[9]), "+r"(s[10]), "+r"(s[11]), "+r"(s[12]), "+r"(s[13]),
        "+r"(s[14]), "+r"(s[15]), "+r"(s[16]), "+r"(s[17]), "+r"(s[18]), "+r"(s[19]), "+r"(s[20]),
        "+r"(s[21]), "+r"(s[22]), "+r"(s[23]), "+r"(s[24]), "+r"(s[25]), "+r"(s[26]), "+r"(s[27]),
        "+r"(s[28]), "+r"(s[29]), "+r"(s[30]), "+r"(s[31]), "+r"(s[32]), "+r"(s[33]), "+r"(s[34]),
        "+r"(s[35]), "+r"(s[36]), "+r"(s[37]), "+r"(s[38]), "+r"(s[39]), "+r"(s[40]), "+r"(s[41]),
        "+r"(s[42]), "+r"(s[43]), "+r"(s[44]), "+r"(s[45]), "+r"(s[46]), "+r"(s[47]), "+r"(s[48]),
        "+r"(s[49]), "+r"(s[50]), "+r"(s[51]), "+r"(s[52]), "+r"(s[53]), "+r"(s[54]), "+r"(s[55]),
        "+r"(s[56]), "+r"(s[57]), "+r"(s[58]), "+r"(s[59]), "+r"(s[60]), "+r"(s[61]), "+r"(s[62]),
        "+r"(s[63])
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// The same for float16 with float32 sums, 64 x 16 by 16 x 128.
__device__ inline void wgmma_64x128x16(float (&s)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{.reg .pred add; setp.ne.b32 add, %66, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
      " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
      " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, add, 1, 1, 0, 0;}"
      : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]),
        "+f"(s[7]), "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]),
        "+f"(s[14]), "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]), "+f"(s[20]),
        "+f"(s[21]), "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]), "+f"(s[26]), "+f"(s[27]),
        "+f"(s[28]), "+f"(s[29]), "+f"(s[30]), "+f"(s[31]), "+f"(s[32]), "+f"(s[33]), "+f"(s[34]),
        "+f"(s[35]), "+f"(s[36]), "+f"(s[37]), "+f"(s[38]), "+f"(s[39]), "+f"(s[40]), "+f"(s[41]),
        "+f"(s[42]), "+f"(s[43]), "+f"(s[44]), "+f"(s[45]), "+f"(s[46]), "+f"(s[47]), "+f"(s[48]),
        "+f"(s[49]), "+f"(s[50]), "+f"(s[51]), "+f"(s[52]), "+f"(s[53]), "+f"(s[54]), "+f"(s[55]),
        "+f"(s[56]), "+f"(s[57]), "+f"(s[58]), "+f"(s[59]), "+f"(s[60]), "+f"(s[61]), "+f"(s[62]),
        "+f"(s[63])
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
#endif

}  // namespace gtn::cuda

#endif
