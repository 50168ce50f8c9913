#include "cuda/upload.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>

#include "cuda/backend_cuda.hpp"
#include "cuda/device_memory.hpp"

namespace gtn::cuda {
namespace {

constexpr int64_t kPiece = int64_t{512} << 10;      // that a thread copies at a time
constexpr int64_t kPlainBytes = int64_t{64} << 20;  // between two polls: some milliseconds
constexpr const char* kName = "copying rows to the device";

// A buffer, and when the device has read it.
class Stage {
 public:
  Stage(int64_t bytes, cudaStream_t stream) : buffer_(bytes, "copies of rows", stream) {
    check(cudaEventCreate(&read_), kName);
  }
  ~Stage() { cudaEventDestroy(read_); }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // An event that was never recorded is not waited for.
  unsigned char* when_read() {
    check(cudaEventSynchronize(read_), kName);
    return buffer_.data();
  }
  void send(void* to, int64_t bytes, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, buffer_.data(), static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                          stream),
          kName);
    check(cudaEventRecord(read_, stream), kName);
  }

 private:
  PinnedArray<unsigned char> buffer_;
  cudaEvent_t read_ = nullptr;
};

int threads_of(const UploadShape& shape) {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, shape.threads);
}

void copy_by(Parallel& team, void* to, const void* from, int64_t bytes) {
  team.run((bytes + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t at = begin * kPiece, size = std::min(end * kPiece, bytes) - at;
    std::memcpy(static_cast<unsigned char*>(to) + at, static_cast<const unsigned char*>(from) + at,
                static_cast<size_t>(size));
  });
}

}  // namespace

void upload(void* to, const void* from, int64_t bytes, Parallel& calling, cudaStream_t stream,
            const UploadShape& shape) {
  auto* const there = static_cast<unsigned char*>(to);
  const auto* const here = static_cast<const unsigned char*>(from);
  std::optional<Stage> stages[2];
  if (bytes >= shape.least) {
    try {
      for (auto& stage : stages) stage.emplace(shape.buffer, stream);
    } catch (const OutOfMemory&) {
      stages[0].reset();  // what cannot be pinned is copied all the same
    }
  }
  if (!stages[0]) {
    for (int64_t at = 0; at < bytes; at += kPlainBytes) {
      const auto size = static_cast<size_t>(std::min(kPlainBytes, bytes - at));
      check(cudaMemcpyAsync(there + at, here + at, size, cudaMemcpyHostToDevice, stream), kName);
      calling.poll_if_due();
    }
    return;
  }
  const auto poll = [&] { calling.poll_if_due(); };
  Parallel team(threads_of(shape), poll);
  for (int64_t at = 0, turn = 0; at < bytes; at += shape.buffer, ++turn) {
    Stage& stage = *stages[turn % 2];
    const int64_t size = std::min(shape.buffer, bytes - at);
    copy_by(team, stage.when_read(), here + at, size);
    stage.send(there + at, size, stream);
    calling.poll_if_due();
  }
}

void copy_on_host(void* to, const void* from, int64_t bytes, Parallel& calling,
                  const UploadShape& shape) {
  const auto poll = [&] { calling.poll_if_due(); };
  Parallel team(bytes < shape.least ? 1 : threads_of(shape), poll);
  copy_by(team, to, from, bytes);
}

}  // namespace gtn::cuda
