// Memory of devices and pinned memory of the host: allocated, counted, filled with junk, kept from
// the host's hands by the address sanitizer while nothing of the device runs.
#include <cstdlib>
#include <cstring>
#include <map>

#include "device.hpp"
#include "sanitizers.hpp"

namespace gtn::emulated {

namespace {

constexpr size_t kAlignment = 256;  // as CUDA's
std::map<const char*, Allocation, std::less<>> allocations;
std::map<int, int> accesses;  // by device: how many are alive
std::map<int, size_t> used;
int64_t busy_frees = 0;

const char* byte_at(const void* address) {
  return static_cast<const char*>(address);
}

template <class Action>
void for_memory_of(int device, Action action) {
  for (const auto& [address, a] : allocations) {
    if (a.kind == Kind::device && a.device == device) {
      action(address, a.bytes);
    }
  }
}

}  // namespace

cudaError_t allocate(void** memory, size_t bytes, Kind kind) {
  if (memory == nullptr) return cudaErrorInvalidValue;
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  const int device = current_device();
  size_t& taken = used[device];
  if (kind == Kind::device && bytes > device_memory() - std::min(device_memory(), taken)) {
    return cudaErrorMemoryAllocation;
  }
  if (posix_memalign(memory, kAlignment, bytes) != 0) {
    *memory = nullptr;
    return cudaErrorMemoryAllocation;
  }
  std::memset(*memory, junk_byte(), bytes);
  allocations[byte_at(*memory)] = {bytes, kind, device};
  if (kind == Kind::device) {
    taken += bytes;
    if (accesses[device] == 0) poison(*memory, bytes);
  }
  return cudaSuccess;
}

cudaError_t release(void* memory, Kind kind) {
  if (memory == nullptr) return cudaSuccess;
  const auto found = allocations.find(byte_at(memory));
  if (found == allocations.end() || found->second.kind != kind) return cudaErrorInvalidValue;
  if (kind == Kind::device) used[found->second.device] -= found->second.bytes;
  unpoison(memory, found->second.bytes);
  std::free(memory);
  allocations.erase(found);
  return cudaSuccess;
}

const Allocation* find_allocation(const void* address) {
  auto next = allocations.upper_bound(byte_at(address));
  if (next == allocations.begin()) return nullptr;
  --next;
  return byte_at(address) < next->first + next->second.bytes ? &next->second : nullptr;
}

bool lies_in(const void* memory, size_t bytes, Kind kind) {
  if (bytes == 0) return true;
  if (memory == nullptr) return false;
  const Allocation* first = find_allocation(memory);
  const Allocation* last = find_allocation(byte_at(memory) + bytes - 1);
  if (kind == Kind::device) return first != nullptr && first == last && first->kind == kind;
  return first == last && (first == nullptr || first->kind == kind);
}

bool device_sees(const void* address) {
  for (const Allocation* a : {find_allocation(address), find_allocation(byte_at(address) - 1)}) {
    if (a != nullptr && (a->kind == Kind::host || a->device == current_device())) return true;
  }
  return false;
}

int64_t freed_while_busy() {
  const std::lock_guard lock(runtime_lock());
  return busy_frees;
}

int64_t live_allocations() {
  const std::lock_guard lock(runtime_lock());
  return static_cast<int64_t>(allocations.size());
}

Access::Access(int device) : device_(device) {
  if (accesses[device_]++ == 0) for_memory_of(device_, unpoison);
}

Access::~Access() {
  if (--accesses[device_] == 0) for_memory_of(device_, poison);
}

}  // namespace gtn::emulated

using namespace gtn::emulated;  // NOLINT: what follows is that namespace's C face

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return call(__func__, [&] { return allocate(memory, bytes, Kind::device); });
}

cudaError_t cudaFree(void* memory) {
  // The real one happens to wait for the device, and need not: here it waits for nothing, so that
  // work that still uses the memory is seen by the address sanitizer, and by cudaMalloc's junk.
  return call(__func__, [&] {
    if (memory != nullptr && busy(current_device())) ++busy_frees;
    return release(memory, Kind::device);
  });
}

cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream) {
  return call(__func__, [&] {
    const cudaError_t error = allocate(memory, bytes, Kind::device);
    if (error != cudaErrorMemoryAllocation) return error;
    // What the stream is still to free may be enough.
    if (const cudaError_t failed = finish_stream(stream)) return failed;
    return allocate(memory, bytes, Kind::device);
  });
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  return call(__func__, [&]() -> cudaError_t {
    if (!lies_in(memory, 1, Kind::device)) return cudaErrorInvalidValue;
    return give(stream, [memory] { release(memory, Kind::device); });
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call(__func__, [&] {
    *total = device_memory();
    *free = *total - std::min(*total, used[current_device()]);
    return cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return call(__func__, [&] { return allocate(memory, bytes, Kind::host); });
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return call(__func__, [&] { return allocate(memory, bytes, Kind::host); });
}

cudaError_t cudaFreeHost(void* memory) {
  return call(__func__, [&] { return release(memory, Kind::host); });
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  return call(__func__, [&] {
    const Allocation* found = find_allocation(host);
    if (found == nullptr || found->kind != Kind::host) return cudaErrorInvalidValue;
    *device = host;
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return call(__func__, [&] {
    auto* address = const_cast<void*>(pointer);
    const Allocation* found = find_allocation(pointer);
    if (found == nullptr) {
      *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, address};
    } else if (found->kind == Kind::host) {
      *attributes = {cudaMemoryTypeHost, found->device, address, address};
    } else {
      *attributes = {cudaMemoryTypeDevice, found->device, address, nullptr};
    }
    return cudaSuccess;
  });
}
