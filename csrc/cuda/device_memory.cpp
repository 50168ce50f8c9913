#include "cuda/device_memory.hpp"

#include "cuda/backend_cuda.hpp"

namespace gtn::cuda {

void* Budget::take(int64_t bytes, const char* what) {
  if (memory_ > 0 && taken_ + bytes > memory_) {
    throw OutOfMemory("memory: " + std::string(what) + " needs " + std::to_string(bytes) +
                      " bytes of cuda:" + std::to_string(device_) + " beside the " +
                      std::to_string(taken_) + " already taken, but only " +
                      std::to_string(memory_) + " may be taken in all");
  }
  void* pointer = nullptr;
  const cudaError_t status = cudaMalloc(&pointer, static_cast<size_t>(bytes));
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
  cudaFree(pointer);
  taken_ -= bytes;
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
