// The emulator of CUDA: grids, barriers, collectives, atomics, and that it shows the mistakes it is
// there to show. Instructions on numbers are test_cuda_arithmetic.cpp's, the functions that a host
// calls are test_cuda_runtime.cpp's.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "cuda/instructions.hpp"
#include "cuda/scan_chunks.hpp"
#include "device_array.hpp"

namespace {

using emulation::Array;
using emulation::run;
using emulation::Setting;
using gtn::cuda::kAllLanes;
using gtn::emulated::Fault;

std::vector<int> counted(int size) {
  std::vector<int> values(size);
  for (int i = 0; i < size; ++i) values[i] = i;
  return values;
}

__global__ void indices(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += static_cast<int>(block * threads + thread);
}

// Reverses each block's part by way of shared memory, dynamic and static.
__global__ void reverse(int* values) {
  __shared__ int first[96];
  auto* second = reinterpret_cast<int*>(gtn::cuda::dynamic_shared());
  const unsigned i = threadIdx.x, n = blockDim.x, base = blockIdx.x * n;
  first[i] = values[base + i];
  __syncthreads();
  second[i] = first[n - 1 - i];
  __syncthreads();
  if (i % 2 == 0) values[base + i] = second[i];
  __syncthreads();
  if (i % 2 == 1) values[base + i] = second[i];
}

// The thread sanitizer must not report what is wrong on purpose.
__attribute__((no_sanitize("thread"))) __global__ void without_barrier(int* out) {
  __shared__ int value[64];
  value[threadIdx.x] = static_cast<int>(threadIdx.x + blockIdx.x);
  out[threadIdx.x] = value[63 - threadIdx.x];
}

__global__ void votes_of_block(int* out) {
  const int i = static_cast<int>(threadIdx.x);
  const int any = __syncthreads_or(i == 40), none = __syncthreads_or(0);
  const int all = __syncthreads_and(i < 64), most = __syncthreads_and(i != 3);
  const int count = __syncthreads_count(i % 5 == 0);
  out[i] = any * 10000 + none * 1000 + all * 200 + most * 100 + count;
}

// Waits for all products but the last few, and names what they write.
template <int Left>
__global__ void products() {
  using namespace gtn::cuda;  // NOLINT: its instructions
  unsigned char* memory = dynamic_shared();
  memory += -shared_address(memory) % kChunkAlignment;
  memory[threadIdx.x] = 1;
  fence_async_proxy();
  __syncthreads();
  const uint64_t matrix = chunk_matrix(shared_address(memory));
  int32_t sums[64] = {};
  wgmma_fence(sums);
  wgmma_64x128x32(sums, matrix, matrix, false);
  wgmma_commit();
  wgmma_wait<Left>(sums);
  wgmma_wait<0>();
}

}  // namespace

TEST_CASE("sums that a product still writes are not to be read") {
  constexpr int kBytes = gtn::cuda::kLatentChunk + gtn::cuda::kChunkAlignment;
  run(products<0>, 1, 128, kBytes);
  CHECK_THROWS_AS(run(products<1>, 1, 128, kBytes), Fault);
}

TEST_CASE("every thread of every block runs once, whatever its shape") {
  const dim3 blocks(3, 2, 4), threads(5, 3, 2);
  Array<int> out(24 * 30);
  run(indices, blocks, threads, 0, out.data());
  CHECK(out.get() == counted(24 * 30));
}

TEST_CASE("barriers separate what threads do, under any seed") {
  for (int seed = 1; seed <= 20; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    Array<int> values(counted(4 * 96));
    run(reverse, 4, 96, 96 * sizeof(int), values.data());
    const std::vector<int> got = values.get();
    for (int i = 0; i < 4 * 96; ++i) CHECK(got[i] == i / 96 * 96 + 95 - i % 96);
  }
}

TEST_CASE("a barrier that is missing shows") {
  int wrong = 0;
  for (int seed = 1; seed <= 5; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    Array<int> out(64);
    run(without_barrier, seed, 64, 0, out.data());
    const std::vector<int> got = out.get();
    for (int i = 1; i < 64; ++i) wrong += got[i] != got[i - 1] - 1;
  }
  CHECK(wrong > 0);
}

TEST_CASE("votes of a block") {
  Array<int> out(64);
  run(votes_of_block, 1, 64, 0, out.data());
  CHECK(out.get() == std::vector<int>(64, 10000 + 200 + 13));
}

namespace {

template <class T>
__global__ void shuffles(T* out) {
  const int i = static_cast<int>(threadIdx.x);
  const T value = static_cast<T>(i) + static_cast<T>(1) / 2;
  out[i * 6] = __shfl_sync(kAllLanes, value, i * 7 + 3);
  out[i * 6 + 1] = __shfl_up_sync(kAllLanes, value, 3);
  out[i * 6 + 2] = __shfl_down_sync(kAllLanes, value, 5, 8);
  out[i * 6 + 3] = __shfl_xor_sync(kAllLanes, value, 17);
  out[i * 6 + 4] = __shfl_xor_sync(kAllLanes, value, 8, 8);
  out[i * 6 + 5] = __shfl_sync(kAllLanes, value, 9, 4);
}

template <class T>
void check_shuffles() {
  Array<T> out(64 * 6);
  run(shuffles<T>, 1, 64, 0, out.data());
  const std::vector<T> got = out.get();
  for (int i = 0; i < 64; ++i) {
    const int warp = i / 32 * 32, lane = i % 32;
    const int from[] = {warp + (i * 7 + 3) % 32,      lane < 3 ? i : i - 3,
                        lane % 8 + 5 > 7 ? i : i + 5, warp + (lane ^ 17),
                        lane % 16 < 8 ? i : i - 8,    warp + lane / 4 * 4 + 1};
    for (int k = 0; k < 6; ++k) {
      CHECK(got[i * 6 + k] == static_cast<T>(from[k]) + static_cast<T>(1) / 2);
    }
  }
}

__global__ void votes_of_warp(unsigned* out) {
  const int i = static_cast<int>(threadIdx.x);
  const unsigned half = i % 32 < 16 ? 0xffffu : 0xffff0000u;
  out[i * 5] = __ballot_sync(half, i % 3 == 0);
  out[i * 5 + 1] = static_cast<unsigned>(__any_sync(half, i == 40) + 2 * __all_sync(half, i > 31));
  out[i * 5 + 2] = __match_any_sync(kAllLanes, i % 4);
  out[i * 5 + 3] = __reduce_max_sync(half, static_cast<unsigned>(i) * 0x8000000u);
  __syncwarp(half);
  out[i * 5 + 4] = static_cast<unsigned>(__reduce_max_sync(kAllLanes, -i));
}

// Each lane passes its value on many times, so that a lane ahead of others would show.
__global__ void chain(int* out) {
  int value = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 100; ++i) {
    value = __shfl_sync(kAllLanes, value, static_cast<int>(threadIdx.x) + 1);
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

}  // namespace

TEST_CASE("shuffles of every type") {
  check_shuffles<int>();
  check_shuffles<unsigned>();
  check_shuffles<float>();
  check_shuffles<double>();
  check_shuffles<long long>();
  check_shuffles<uint64_t>();
}

TEST_CASE("votes of a warp and of parts of it") {
  Array<unsigned> out(64 * 5);
  run(votes_of_warp, 1, 64, 0, out.data());
  const std::vector<unsigned> got = out.get();
  for (int i = 0; i < 64; ++i) {
    const int part = i / 16 * 16, shift = i % 32 / 16 * 16;
    unsigned thirds = 0;
    for (int k = part; k < part + 16; ++k) {
      if (k % 3 == 0) thirds |= 1u << (k - part + shift);
    }
    CHECK(got[i * 5] == thirds);
    CHECK(got[i * 5 + 1] == (part == 32 ? 1u : 0u) + (part >= 32 ? 2u : 0u));
    CHECK(got[i * 5 + 2] == 0x11111111u << i % 4);
    CHECK(got[i * 5 + 3] == static_cast<unsigned>(part == 32 ? 15 : part % 32 + 15) * 0x8000000u);
    CHECK(got[i * 5 + 4] == static_cast<unsigned>(-(i / 32 * 32)));
  }
}

TEST_CASE("collectives one after another do not mix") {
  Array<int> out(3 * 128);
  run(chain, 3, 128, 0, out.data());
  const std::vector<int> got = out.get();
  for (int i = 0; i < 3 * 128; ++i) CHECK(got[i] == i % 128 / 32 * 32 + (i + 100) % 32);
}

namespace {

template <class T>
__global__ void add_and_bound(T* sum, T* least, T* most) {
  const T value = static_cast<T>(blockIdx.x * blockDim.x + threadIdx.x + 1);
  atomicAdd(sum, value);
  if constexpr (std::is_integral_v<T>) {
    atomicMin(least, value);
    atomicMax(most, value);
  }
}

template <class T>
void check_add_and_bound() {
  Array<T> values(std::vector<T>{0, 100, 0});
  run(add_and_bound<T>, 5, 64, 0, values.data(), values.data() + 1, values.data() + 2);
  const bool whole = std::is_integral_v<T>;
  CHECK(values.get() == std::vector<T>{static_cast<T>(51360), static_cast<T>(whole ? 1 : 100),
                                       static_cast<T>(whole ? 320 : 0)});
}

__global__ void other_atomics(unsigned* bits, int* lock, int* count, unsigned long long* turns,
                              float* swapped) {
  atomicOr(bits, 1u << threadIdx.x);
  atomicAnd(bits + 1, ~(1u << threadIdx.x));
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  __threadfence();
  const int before = *count;
  __threadfence();  // where others may run
  *count = before + 1;
  __threadfence();
  atomicExch(lock, 0);
  if (atomicAdd(turns, 1ull) == blockDim.x - 1) atomicExch(swapped, 2.5f);
}

}  // namespace

TEST_CASE("atomics") {
  check_add_and_bound<int>();
  check_add_and_bound<unsigned>();
  check_add_and_bound<unsigned long long>();
  check_add_and_bound<float>();
  check_add_and_bound<double>();
  Array<unsigned> bits(std::vector<unsigned>{0, ~0u});
  Array<int> lock(2);
  Array<unsigned long long> turns(1);
  Array<float> swapped(1);
  run(other_atomics, 1, 32, 0, bits.data(), lock.data(), lock.data() + 1, turns.data(),
      swapped.data());
  CHECK(bits.get() == std::vector<unsigned>{~0u, 0});
  CHECK(lock.get() == std::vector<int>{0, 32});
  CHECK(turns.get()[0] == 32);
  CHECK(swapped.get()[0] == 2.5f);
  Array<int> overflow(std::vector<int>{std::numeric_limits<int>::max(), 0, 0});
  run(add_and_bound<int>, 1, 1, 0, overflow.data(), overflow.data() + 1, overflow.data() + 2);
  CHECK(overflow.get()[0] == std::numeric_limits<int>::min());
}

namespace {

__global__ void divergent_barrier() {
  if (threadIdx.x < 32) {  // NOLINT(bugprone-branch-clone)
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void returns_early() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
__global__ void lane_missing() {
  if (threadIdx.x != 7) __shfl_sync(kAllLanes, 1, 0);
}
__global__ void not_in_mask() {
  __ballot_sync(0xfffeu, 1);
}
__global__ void masks_differ() {
  __ballot_sync(threadIdx.x < 16 ? kAllLanes : 0xffff0000u, 1);
}
__global__ void collectives_differ() {
  if (threadIdx.x % 2) {  // NOLINT(bugprone-branch-clone)
    __shfl_sync(kAllLanes, 1, 0);
  } else {
    __shfl_sync(kAllLanes, 1, 0);
  }
}
__global__ void barrier_and_collective() {
  if (threadIdx.x < 5) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}
__global__ void full_warp() {
  __syncwarp();
}
__global__ void throws() {
  if (threadIdx.x == 3) throw std::runtime_error("thrown by a kernel");
  __syncthreads();
}

void check_fault(void (*kernel)(), int threads, const std::string& expected) {
  for (int seed = 1; seed <= 3; ++seed) {
    const Setting setting("GTN_EMULATOR_SEED", std::to_string(seed));
    std::string what = "nothing";
    try {
      run(kernel, 1, threads, 0);
    } catch (const Fault& fault) {
      what = fault.what();
    }
    CHECK_MESSAGE(what.find(expected) != std::string::npos, what);
  }
}

}  // namespace

TEST_CASE("threads that wait for what does not come are an error that says where") {
  check_fault(divergent_barrier, 64, "others wait at another, test_cuda_emulator.cpp:");
  check_fault(returns_early, 64, "1 returned, 63 at the barrier test_cuda_emulator.cpp:");
  check_fault(lane_missing, 32, "1 returned, lanes ffffff7f of the mask ffffffff of warp 0 at");
  check_fault(not_in_mask, 1, "thread (0,0,0) of block (0,0,0) is not in the mask");
  check_fault(masks_differ, 32, " wait ");  // at another, or for others that do not come
  check_fault(collectives_differ, 32, "wait at another or with another mask");
  check_fault(barrier_and_collective, 32, "0 returned, 5 at the barrier");
  check_fault(full_warp, 40, "lanes that its warp does not have");
  CHECK_THROWS_WITH(run(throws, 1, 64, 0), "thrown by a kernel");
  // And the next grid is none the worse.
  Array<int> out(24 * 30);
  run(indices, dim3(3, 2, 4), dim3(5, 3, 2), 0, out.data());
  CHECK(out.get() == counted(24 * 30));
}
