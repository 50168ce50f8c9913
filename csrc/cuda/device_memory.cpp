#include "cuda/device_memory.hpp"

#include <cstdlib>
#include <iterator>

#include "cuda/backend_cuda.hpp"

namespace gtn::cuda {
namespace {

constexpr int64_t kAlignment = 256;  // as cudaMalloc's

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool arenas_wanted() {
  const char* value = std::getenv("GTN_CUDA_ARENA");  // NOLINT(concurrency-mt-unsafe)
  if (value != nullptr) return std::string(value) != "0";
#ifdef GTN_CUDA_EMULATED
  return false;  // for the address sanitizer
#else
  return true;
#endif
}

}  // namespace

Budget::~Budget() {
  if (!reserved_) return;
  cudaStreamSynchronize(stream_);
  cudaFree(reserved_);
}

void Budget::reserve(int64_t bytes) {
  if (reserved_ || !arenas_wanted()) return;
  void* pointer = nullptr;
  if (cudaMalloc(&pointer, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();  // or the next call would report it again
    return;
  }
  reserved_ = static_cast<unsigned char*>(pointer);
  reserved_bytes_ = bytes / kAlignment * kAlignment;
  gaps_ = {{0, reserved_bytes_}};
  most_taken_ = std::max(most_taken_, bytes);
}

void* Budget::carve(int64_t bytes) {
  const int64_t size = aligned(bytes);
  const auto gap =
      std::find_if(gaps_.begin(), gaps_.end(), [size](const auto& g) { return g.second >= size; });
  if (gap == gaps_.end()) return nullptr;
  const auto [offset, room] = *gap;
  gaps_.erase(gap);
  if (room > size) gaps_[offset + size] = room - size;
  return reserved_ + offset;
}

bool Budget::give_back_gap(void* pointer, int64_t bytes) {
  const auto* at = static_cast<unsigned char*>(pointer);
  if (!reserved_ || at < reserved_ || at >= reserved_ + reserved_bytes_) return false;
  auto gap = gaps_.emplace(at - reserved_, aligned(bytes)).first;
  const auto join = [this](auto first, auto second) {
    if (first->first + first->second != second->first) return;
    first->second += second->second;
    gaps_.erase(second);
  };
  if (std::next(gap) != gaps_.end()) join(gap, std::next(gap));
  if (gap != gaps_.begin()) join(std::prev(gap), gap);
  return true;
}

void* Budget::take(int64_t bytes, const char* what) {
  if (memory_ > 0 && taken_ + bytes > memory_) {
    throw OutOfMemory("memory: " + std::string(what) + " needs " + std::to_string(bytes) +
                      " bytes of cuda:" + std::to_string(device_) + " beside the " +
                      std::to_string(taken_) + " already taken, but only " +
                      std::to_string(memory_) + " may be taken in all");
  }
  void* pointer = carve(bytes);
  const cudaError_t status =
      pointer ? cudaSuccess : cudaMalloc(&pointer, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next call would report it again
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    throw OutOfMemory("cuda:" + std::to_string(device_) + " is out of memory: " + what + " needs " +
                      std::to_string(bytes) + " bytes, but " + std::to_string(free) + " of its " +
                      std::to_string(total) + " are free (" + std::to_string(taken_) +
                      " are taken by this call)");
  }
  check(status, "allocating device memory");
  taken_ += bytes;
  most_taken_ = std::max(most_taken_, taken_);
  return pointer;
}

void Budget::give_back(void* pointer, int64_t bytes) {
  taken_ -= bytes;
  if (give_back_gap(pointer, bytes)) return;
  cudaStreamSynchronize(stream_);
  cudaFree(pointer);
}

void* pin(int64_t bytes, const char* what) {
  void* pointer = nullptr;
  const cudaError_t status = cudaHostAlloc(&pointer, static_cast<size_t>(bytes),
                                           cudaHostAllocMapped | cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // or the next call would report it again
    throw OutOfMemory("the host cannot pin the " + std::to_string(bytes) +
                      " bytes of memory that " + what + " need");
  }
  check(status, "pinning memory of the host");
  return pointer;
}

}  // namespace gtn::cuda
