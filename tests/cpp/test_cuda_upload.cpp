// Rows on their way to a device, in the emulator, which reads a pinned buffer as late as it may: a
// buffer that is filled again too early shows. And what fails on the way.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "cuda/simt.hpp"
#include "cuda/upload.hpp"
#include "cuda_job.hpp"
#include "device_array.hpp"

using emulation::Array;
using emulation::live_objects;
using emulation::Setting;
using gtn::cuda::UploadShape;

namespace {

using Bytes = std::vector<unsigned char>;

Bytes random_bytes(size_t count) {
  std::mt19937_64 random(count);
  Bytes bytes(count);
  for (unsigned char& b : bytes) b = static_cast<unsigned char>(random());
  return bytes;
}

Bytes uploaded(const Bytes& from, const UploadShape& shape) {
  gtn::Parallel calling(1);
  const Array<unsigned char> there(from.size() + 1);  // with a byte that stays zero
  gtn::cuda::upload(there.data(), from.data(), static_cast<int64_t>(from.size()), calling, nullptr,
                    shape);
  Bytes got = there.get();
  CHECK(got.back() == 0);
  got.pop_back();
  return got;
}

}  // namespace

TEST_CASE("all bytes arrive, through buffers of any size and by any number of threads") {
  for (const size_t count : {1, 4096, 100'000, 3'000'000}) {
    const Bytes bytes = random_bytes(count);
    CHECK(uploaded(bytes, {}) == bytes);
    for (const int64_t buffer : {4096, 65'536, 1 << 20, 1 << 22}) {
      if (static_cast<int64_t>(count) > 200 * buffer) continue;
      for (const int threads : {1, 4}) CHECK(uploaded(bytes, {0, buffer, threads}) == bytes);
    }
    Bytes copy(count);
    gtn::Parallel calling(1);
    for (const int64_t least : {int64_t{0}, int64_t{1} << 30}) {
      std::fill(copy.begin(), copy.end(), static_cast<unsigned char>(0));
      gtn::cuda::copy_on_host(copy.data(), bytes.data(), static_cast<int64_t>(count), calling,
                              {least, 4096, 3});
      CHECK(copy == bytes);
    }
  }
  CHECK(live_objects() == 0);
}

TEST_CASE("what cannot be pinned is uploaded all the same") {
  const Bytes bytes = random_bytes(50'000);
  for (const char* nth : {"1", "2"}) {
    const Setting failure("GTN_EMULATOR_FAIL", std::string("cudaHostAlloc:") + nth);
    CHECK(uploaded(bytes, {0, 8192, 2}) == bytes);
  }
  CHECK(live_objects() == 0);
}

TEST_CASE("an upload that fails or is interrupted keeps nothing") {
  const Bytes bytes = random_bytes(50'000);
  for (const char* call : {"cudaHostAlloc", "cudaEventCreateWithFlags", "cudaEventRecord",
                           "cudaEventSynchronize", "cudaMemcpyAsync"}) {
    for (const int nth : {1, 2, 5}) {
      if (nth > 2 &&
          (std::string(call) == "cudaHostAlloc" || std::string(call) == "cudaEventCreateWithFlags"))
        continue;
      const Setting failure("GTN_EMULATOR_FAIL",
                            std::string(call) + ":" + std::to_string(nth) + ":cudaErrorUnknown");
      CHECK_THROWS_AS(uploaded(bytes, {0, 8192, 2}), gtn::cuda::Error);
    }
  }
  const auto interrupt = [] { throw std::runtime_error("enough"); };
  gtn::Parallel calling(1, interrupt);
  const Array<unsigned char> there(bytes.size());
  const auto forever = [&] {
    for (;;)
      gtn::cuda::upload(there.data(), bytes.data(), static_cast<int64_t>(bytes.size()), calling,
                        nullptr, {0, 8192, 2});
  };
  CHECK_THROWS_AS(forever(), std::runtime_error);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(live_objects() == 1);
}
