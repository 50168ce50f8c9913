// The emulator of CUDA: memory, copies, streams, events and devices, as CUDA's rules have them, and
// the failures that a test can ask for.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "device_array.hpp"

using emulation::Array;
using emulation::Setting;

namespace {

__global__ void fill(int* out, int value) {
  out[threadIdx.x] = value;
}
__global__ void copy_to(int* out, const int* in) {
  out[threadIdx.x] = in[threadIdx.x];
}
__global__ void touch_shared() {
  gtn::cuda::dynamic_shared()[threadIdx.x] = 1;
}

// A stream for as long as it lives.
class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) {
    REQUIRE(cudaStreamCreateWithFlags(&stream_, flags) == cudaSuccess);
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

size_t free_memory() {
  size_t free = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  return free;
}

// Pinned memory for eight ints.
class Pinned {
 public:
  Pinned() {
    REQUIRE(cudaHostAlloc(&data_, 8 * sizeof(int), cudaHostAllocDefault) == cudaSuccess);
    std::memset(data_, 0, 8 * sizeof(int));
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  int* data() const { return data_; }

 private:
  int* data_ = nullptr;
};

}  // namespace

TEST_CASE("memory is counted, limited and full of junk") {
  const Setting limit("GTN_EMULATOR_MEMORY", "1000");
  const size_t before = free_memory();
  CHECK(before == 1000);
  unsigned char *a = nullptr, *b = nullptr;
  REQUIRE(cudaMalloc(&a, 600) == cudaSuccess);
  CHECK(reinterpret_cast<uintptr_t>(a) % 256 == 0);
  CHECK(free_memory() == 400);
  CHECK(cudaMalloc(&b, 401) == cudaErrorMemoryAllocation);
  CHECK(b == nullptr);
  CHECK(cudaPeekAtLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  std::vector<unsigned char> bytes(600);
  REQUIRE(cudaMemcpy(bytes.data(), a, 600, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(bytes[0] != 0);
  CHECK(bytes == std::vector<unsigned char>(600, bytes[0]));
  // What the stream is still to free counts as free for the stream.
  const Stream stream;
  REQUIRE(cudaFreeAsync(a, stream) == cudaSuccess);
  REQUIRE(cudaMallocAsync(&b, 900, stream) == cudaSuccess);
  CHECK(cudaFree(b) == cudaSuccess);
  CHECK(cudaFree(b) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(free_memory() == before);
}

TEST_CASE("copies go where they say") {
  const std::vector<int> values{1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int> got(8);
  const Array<int> a(values), b(8);
  CHECK(cudaMemcpy(b.data(), a.data(), 32, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(b.get() == values);
  CHECK(cudaMemcpy(got.data(), b.data(), 32, cudaMemcpyDefault) == cudaSuccess);
  CHECK(got == values);
  CHECK(cudaMemset(b.data(), 0xff, 16) == cudaSuccess);
  CHECK(b.get() == std::vector<int>{-1, -1, -1, -1, 5, 6, 7, 8});
  // Rows of two out of rows of four, into rows of three.
  CHECK(cudaMemcpy2D(b.data(), 12, a.data() + 1, 16, 8, 2, cudaMemcpyDeviceToDevice) ==
        cudaSuccess);
  CHECK(b.get() == std::vector<int>{2, 3, -1, 6, 7, 6, 7, 8});

  CHECK(cudaMemcpy(b.data(), a.data(), 32, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(got.data(), a.data(), 32, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(b.data(), got.data(), 32, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(got.data(), a.data() + 1, 32, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemset(b.data() + 1, 0, 32) == cudaErrorInvalidValue);
  CHECK(cudaMemset(got.data(), 0, 32) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy2D(b.data(), 4, a.data(), 16, 8, 2, cudaMemcpyDeviceToDevice) ==
        cudaErrorInvalidValue);
}

TEST_CASE("a stream's work is not done before something waits for it") {
  const Stream stream;
  const Array<int> a(8);
  const Pinned pinned;
  gtn::cuda::launch(fill, 1, 8, 0, stream, a.data(), 7);
  REQUIRE(cudaMemcpyAsync(pinned.data(), a.data(), 32, cudaMemcpyDeviceToHost, stream) ==
          cudaSuccess);
  CHECK(pinned.data()[7] == 0);
  CHECK(a.get()[7] == 0);  // the null stream does not wait for a non-blocking one
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
  CHECK(pinned.data()[7] == 7);
  // From pinned memory as it is when the copy is made, from pageable memory as it was.
  std::vector<int> pageable(8, 3);
  const Array<int> b(8);
  REQUIRE(cudaMemcpyAsync(a.data(), pinned.data(), 32, cudaMemcpyHostToDevice, stream) ==
          cudaSuccess);
  REQUIRE(cudaMemcpyAsync(b.data(), pageable.data(), 32, cudaMemcpyHostToDevice, stream) ==
          cudaSuccess);
  pinned.data()[7] = 9;
  pageable[7] = 9;
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(a.get()[7] == 9);
  CHECK(b.get()[7] == 3);
  // A copy to pageable memory waits.
  gtn::cuda::launch(fill, 1, 8, 0, stream, a.data(), 5);
  REQUIRE(cudaMemcpyAsync(pageable.data(), a.data(), 32, cudaMemcpyDeviceToHost, stream) ==
          cudaSuccess);
  CHECK(pageable[7] == 5);
}

TEST_CASE("blocking streams and the null stream wait for each other") {
  const Stream blocking(cudaStreamDefault);
  const Array<int> a(8), b(8);
  gtn::cuda::launch(fill, 1, 8, 0, blocking, a.data(), 7);
  CHECK(a.get()[0] == 7);
  gtn::cuda::launch(fill, 1, 8, 0, nullptr, a.data(), 8);
  gtn::cuda::launch(copy_to, 1, 8, 0, blocking, b.data(), a.data());
  REQUIRE(cudaStreamSynchronize(blocking) == cudaSuccess);
  CHECK(b.get()[0] == 8);
}

TEST_CASE("events order streams and measure time") {
  const Stream first, second;
  const Array<int> a(8), b(8);
  cudaEvent_t start = nullptr, end = nullptr;
  REQUIRE(cudaEventCreate(&start) == cudaSuccess);
  REQUIRE(cudaEventCreate(&end) == cudaSuccess);
  CHECK(cudaEventQuery(start) == cudaSuccess);
  REQUIRE(cudaEventRecord(start, first) == cudaSuccess);
  gtn::cuda::launch(fill, 1, 8, 0, first, a.data(), 7);
  REQUIRE(cudaEventRecord(end, first) == cudaSuccess);
  gtn::cuda::launch(fill, 1, 8, 0, first, a.data(), 8);
  REQUIRE(cudaStreamWaitEvent(second, end) == cudaSuccess);
  gtn::cuda::launch(copy_to, 1, 8, 0, second, b.data(), a.data());
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorNotReady);
  REQUIRE(cudaStreamSynchronize(second) == cudaSuccess);
  CHECK(b.get()[0] == 7);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
  CHECK(milliseconds >= 0);
  REQUIRE(cudaEventRecord(end, first) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaErrorNotReady);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(a.get()[0] == 8);
  CHECK(cudaEventDestroy(start) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("launches that no device would take") {
  const Array<int> a(8);
  const auto refused = [&](dim3 blocks, dim3 threads, size_t shared) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared;
    const cudaError_t error = cudaLaunchKernelEx(&config, touch_shared);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    return error;
  };
  CHECK(refused(1, 32, 48 << 10) == cudaSuccess);
  CHECK(refused(1, 1025, 16) == cudaErrorInvalidConfiguration);
  CHECK(refused(1, 0, 16) == cudaErrorInvalidConfiguration);
  CHECK(refused(0, 32, 16) == cudaErrorInvalidConfiguration);
  CHECK(refused(dim3(1, 65536), 32, 16) == cudaErrorInvalidConfiguration);
  CHECK(refused(1, 32, (48 << 10) + 1) == cudaErrorInvalidValue);
  const auto allow = [](int bytes) {
    return cudaFuncSetAttribute(touch_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  CHECK(allow(100 << 10) == cudaSuccess);
  CHECK(refused(1, 32, 100 << 10) == cudaSuccess);
  CHECK(refused(1, 32, (100 << 10) + 1) == cudaErrorInvalidValue);
  CHECK(allow(164 << 10) == cudaErrorInvalidValue);
  // Another thread may be about to launch what the larger limit was for.
  CHECK_THROWS_AS(allow(99 << 10), gtn::emulated::Fault);
  gtn::cuda::allow_shared(touch_shared);
  CHECK(refused(1, 32, 163 << 10) == cudaSuccess);
  CHECK(gtn::cuda::shared_limit() == 163 << 10);
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  gtn::cuda::allow_shared(touch_shared);
  CHECK(refused(1, 32, 227 << 10) == cudaSuccess);
}

TEST_CASE("kernels are given what their device can touch") {
  std::vector<int> host(8);
  const Pinned pinned;
  const Array<int> a(8);
  const auto give = [](int* memory) { emulation::run(fill, 1, 1, 0, memory, 5); };
  CHECK_THROWS_AS(give(host.data()), gtn::emulated::Fault);
  CHECK_THROWS_AS(give(a.data() + 9), gtn::emulated::Fault);
  give(pinned.data());
  CHECK(pinned.data()[0] == 5);
  give(a.data());
  CHECK(a.get()[0] == 5);
}

TEST_CASE("devices") {
  const Setting two("GTN_EMULATOR_DEVICES", "2");
  int count = 0, device = -1, value = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 2);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  const Array<int> on_first(8);
  const Stream of_first;
  const size_t before = free_memory();
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  CHECK(cudaGetDevice(&device) == cudaSuccess);
  CHECK(device == 1);
  CHECK(free_memory() == before + 32);
  CHECK(cudaStreamSynchronize(of_first) == cudaErrorInvalidResourceHandle);
  cudaPointerAttributes attributes{};
  CHECK(cudaPointerGetAttributes(&attributes, on_first.data() + 7) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(attributes.device == 0);
  CHECK(cudaPointerGetAttributes(&attributes, &count) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  REQUIRE(cudaSetDevice(0) == cudaSuccess);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 1) == cudaSuccess);
  CHECK(std::string(properties.name) == "emulated device 1");
  CHECK(properties.major == 8);
  CHECK(cudaGetDeviceProperties(&properties, 2) == cudaErrorInvalidDevice);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess);
  CHECK(value == properties.multiProcessorCount);
  const Setting none("GTN_EMULATOR_DEVICES", "0");
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  CHECK(count == 0);
}

TEST_CASE("failures on demand") {
  const Array<int> a(8);
  std::vector<int> got(8);
  {
    const Setting third("GTN_EMULATOR_FAIL", "cudaMemcpy:3");
    CHECK(cudaMemcpy(got.data(), a.data(), 32, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(cudaMemset(a.data(), 0, 32) == cudaSuccess);
    CHECK(cudaMemcpy(got.data(), a.data(), 32, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(cudaMemcpy(got.data(), a.data(), 32, cudaMemcpyDeviceToHost) == cudaErrorUnknown);
    CHECK(cudaMemcpy(got.data(), a.data(), 32, cudaMemcpyDeviceToHost) == cudaSuccess);
  }
  {
    const Setting every("GTN_EMULATOR_FAIL", "cudaLaunchKernelEx:0:cudaErrorLaunchFailure");
    CHECK_THROWS_WITH_AS(
        gtn::cuda::launch(fill, 1, 8, 0, nullptr, a.data(), 1),
        "CUDA: launching a kernel: cudaErrorLaunchFailure, unspecified launch failure",
        gtn::cuda::Error);
    CHECK_THROWS_AS(gtn::cuda::launch(fill, 1, 8, 0, nullptr, a.data(), 1), gtn::cuda::Error);
  }
  const Setting allocation("GTN_EMULATOR_FAIL", "cudaMalloc:1");
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 8) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
}
