#include <algorithm>
#include <functional>
#include <vector>

#include "cuda/device_memory.hpp"
#include "cuda/instructions.hpp"
#include "cuda/scan_chunks.hpp"
#include "cuda/scan_rate.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr double kLeastSeconds = 2e-3;  // of what is timed, so that launches do not show
constexpr size_t kLeastRuns = 3;

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "making an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Seconds of one repetition of work(repetitions), which puts them on the null stream.
double seconds_each(double seconds, const std::function<void(int)>& work) {
  const Event start, end;
  const auto timed = [&](int repetitions) {
    check(cudaEventRecord(start, nullptr), "recording an event");
    work(repetitions);
    check(cudaEventRecord(end, nullptr), "recording an event");
    check(cudaEventSynchronize(end), "waiting for what is timed");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, end), "reading the clock");
    return static_cast<double>(milliseconds) * 1e-3;
  };
  int repetitions = 1;  // found while the device warms up
  while (timed(repetitions) < kLeastSeconds) repetitions *= 2;
  std::vector<double> each;
  double spent = 0;
  while (spent < seconds || each.size() < kLeastRuns) {
    each.push_back(timed(repetitions));
    spent += each.back();
  }
  const auto middle = each.begin() + static_cast<std::ptrdiff_t>(each.size() / 2);
  std::nth_element(each.begin(), middle, each.end());
  return *middle / repetitions;
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  return device;
}

int multiprocessors() {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, current_device()),
        "asking for the multiprocessors");
  return count;
}

// --- Matrix rates: a bare loop over operands that stay where they are --------------------------

// Pairs of 32 bytes, one of each operand, that a block multiplies in a round: 32 int8 or 16
// float16.
constexpr int64_t kRoundPairs = 64 * 1024;
constexpr int kRateShared = kSourceChunk + kLatentChunk + kChunkAlignment;

__device__ uint32_t noise(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}
// Operands: four int8, or two float16 between 0.5 and 1 in size.
__device__ uint32_t operand(uint32_t x, int32_t) {
  return noise(x);
}
__device__ uint32_t operand(uint32_t x, float) {
  return (noise(x) & 0x83ff83ffu) | 0x38003800u;
}

#ifdef GTN_WGMMA

__device__ void multiply(int32_t (&sums)[64], uint64_t a, uint64_t b) {
  wgmma_64x128x32(sums, a, b, true);
}
__device__ void multiply(float (&sums)[64], uint64_t a, uint64_t b) {
  wgmma_64x128x16(sums, a, b, true);
}

// Two warpgroups, each two products of 64 x 128 in turn, two steps of 32 bytes each.
template <class Sum>
__device__ Sum multiply_rounds(int rounds) {
  unsigned char* memory = dynamic_shared();
  memory += -shared_address(memory) % kChunkAlignment;
  auto* words = reinterpret_cast<uint32_t*>(memory);
  for (uint32_t i = threadIdx.x; i < (kSourceChunk + kLatentChunk) / 4; i += kThreads)
    words[i] = operand(i, Sum{});
  fence_async_proxy();
  __syncthreads();
  const uint32_t sources = shared_address(memory) + threadIdx.x / 128 * 2 * 64 * kChunk;
  const uint64_t a = chunk_matrix(sources), b = chunk_matrix(sources + 64 * kChunk);
  const uint64_t latents = chunk_matrix(shared_address(memory) + kSourceChunk);
  constexpr uint64_t kStep = kStrideBytes / 16;  // in a descriptor
  Sum first[64] = {}, second[64] = {};
  for (int round = 0; round < rounds; ++round) {
    wgmma_fence(first);
    multiply(first, a, latents);
    multiply(first, a + kStep, latents + kStep);
    wgmma_commit();
    wgmma_fence(second);
    multiply(second, b, latents);
    multiply(second, b + kStep, latents + kStep);
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>(first, second);
  Sum all = 0;
  for (int i = 0; i < 64; ++i) all += first[i] + second[i];
  return all;
}
#else

__device__ void multiply(int32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_16x8x32(sum, a, b0, b1);
}
__device__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_16x8x16(sum, a, b0, b1);
}

// Eight warps, each four times 64 x 32 by one step of 32 bytes, from registers.
template <class Sum>
__device__ Sum multiply_rounds(int rounds) {
  uint32_t a[4][4], b[4][2];
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) a[i][j] = operand(threadIdx.x * 16 + i * 4 + j, Sum{});
#pragma unroll
    for (uint32_t j = 0; j < 2; ++j) b[i][j] = operand(~(threadIdx.x * 8 + i * 2 + j), Sum{});
  }
  Sum sums[4][4][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int repeat = 0; repeat < 4; ++repeat) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int n = 0; n < 4; ++n) multiply(sums[m][n], a[m], b[n][0], b[n][1]);
      }
    }
  }
  Sum all = 0;
#pragma unroll
  for (int i = 0; i < 64; ++i) all += sums[i / 16][i / 4 % 4][i % 4];
  return all;
}
#endif

template <class Sum>
__global__ void __launch_bounds__(kThreads) multiply_bare(int rounds, Sum* out) {
  const Sum all = multiply_rounds<Sum>(rounds);
  if (all == Sum{1} / 3) *out = all;  // as good as never, but who compiles it cannot know
}

// Multiply-adds a second, of which a pair has `depth`.
template <class Sum>
double multiply_rate(int depth, double seconds) {
  Budget budget(current_device(), 0, nullptr);
  const DeviceArray<Sum> out(budget, 1, "a sum");
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, multiply_bare<Sum>, kThreads,
                                                      kRateShared),
        "asking for the blocks of a multiprocessor");
  blocks *= multiprocessors();
  const double round = seconds_each(seconds, [&](int rounds) {
    launch(multiply_bare<Sum>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), kRateShared,
           nullptr, rounds, out.data());
  });
  return static_cast<double>(blocks * kRoundPairs * depth) / round;
}

// Codes that look random, from a megabyte of them.
void fill(int8_t* codes, int64_t bytes) {
  constexpr int64_t kPattern = int64_t{1} << 20;
  std::vector<int8_t> pattern(static_cast<size_t>(std::min(bytes, kPattern)));
  uint32_t state = 1;
  for (int8_t& code : pattern) {
    state = state * 1664525u + 1013904223u;
    code = static_cast<int8_t>(static_cast<int32_t>((state >> 16) % 255) - 127);
  }
  check(cudaMemcpy(codes, pattern.data(), pattern.size(), cudaMemcpyHostToDevice), "copying codes");
  for (auto have = static_cast<int64_t>(pattern.size()); have < bytes; have *= 2)
    check(cudaMemcpy(codes + have, codes, static_cast<size_t>(std::min(have, bytes - have)),
                     cudaMemcpyDeviceToDevice),
          "copying codes");
}

template <class T>
DeviceArray<T> filled(Budget& budget, int64_t count, const T& value, const char* what) {
  DeviceArray<T> array(budget, count, what);
  const std::vector<T> values(static_cast<size_t>(count), value);
  check(cudaMemcpy(array.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
        "copying what goes with codes");
  return array;
}

}  // namespace

double int8_matrix_rate(double seconds) {
  return 2 * multiply_rate<int32_t>(32, seconds);
}
double fp16_matrix_rate(double seconds) {
  return 2 * multiply_rate<float>(16, seconds);
}

double copy_rate(int64_t bytes, double seconds) {
  Budget budget(current_device(), 0, nullptr);
  const DeviceArray<unsigned char> from(budget, bytes, "what is copied");
  const DeviceArray<unsigned char> to(budget, bytes, "a copy");
  check(cudaMemset(from.data(), 1, static_cast<size_t>(bytes)), "filling memory");
  const double each = seconds_each(seconds, [&](int copies) {
    for (int i = 0; i < copies; ++i)
      check(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(bytes),
                            cudaMemcpyDeviceToDevice, nullptr),
            "copying memory");
  });
  return 2 * static_cast<double>(bytes) / each;
}

ScanRate scan_rate(const ScanKernel& kernel, const ScanShape& shape, double seconds) {
  Budget budget(current_device(), 0, nullptr);
  const Slots slots{shape.tiles};
  ScanTask task{};
  task.slots = slots;
  task.source_count = shape.sources;
  task.source_rows = (shape.sources + kSourceRows - 1) / kSourceRows * kSourceRows;
  task.stride = (shape.dim + kStrideBytes - 1) / kStrideBytes * kStrideBytes;
  task.superpanels = static_cast<int32_t>((shape.latents + slots.superpanel_slots() - 1) /
                                          slots.superpanel_slots());
  const int64_t latents = int64_t{task.superpanels} * slots.superpanel_slots();
  const int64_t groups = int64_t{task.superpanels} * kTileGroups;

  const DeviceArray<int8_t> latent_codes(budget, latents * task.stride, "latents");
  const DeviceArray<int8_t> source_codes(budget, int64_t{task.source_rows} * task.stride,
                                         "sources");
  fill(latent_codes.data(), latent_codes.size());
  fill(source_codes.data(), source_codes.size());
  const auto sources =
      filled(budget, task.source_rows, SourceCode{0x1p-10f, 1, 0x1p-8f}, "sources");
  const auto base = filled(budget, task.source_rows, 0.0f, "sources");
  const auto group_codes = filled(budget, groups, GroupCode{0x1p-10f, 0x1p-8f, 1, 0}, "groups");
  const DeviceArray<float> upper(budget, shape.sources * groups, "bounds");
  task.latent_codes = latent_codes.data();
  task.source_codes = source_codes.data();
  task.sources = sources.data();
  task.base = base.data();
  task.groups = group_codes.data();
  task.upper = upper.data();
  DeviceArray<int32_t> others;
  if (shape.named) others = DeviceArray<int32_t>(budget, shape.sources * groups, "bounds");
  task.others = others.data();

  const int count = multiprocessors();
  const double each = seconds_each(seconds, [&](int scans) {
    for (int i = 0; i < scans; ++i) kernel.scan(task, count, nullptr);
  });
  const auto products = static_cast<double>(latents) * shape.sources * shape.dim;
  const auto bytes = static_cast<double>(latent_codes.size() + (upper.size() + others.size()) * 4);
  return {2 * products / each, bytes / each};
}

}  // namespace gtn::cuda
