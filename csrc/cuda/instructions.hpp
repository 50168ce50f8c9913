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

// --- wgmma: matrices in shared memory, multiplied by four warps --------------------------------
// Where GTN_WGMMA is defined: in code for 9.0a, which no other device runs.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define GTN_WGMMA

// Orders what ordinary instructions and cp.async wrote to shared memory before what wgmma reads
// there ("async proxy").
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Before the first product of a group: sums that this thread touched are the product's again.
__device__ inline void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Products between two commits are a group; wait<n>() returns when all but the last n are done.
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kGroups>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
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
#endif

}  // namespace gtn::cuda

#endif
