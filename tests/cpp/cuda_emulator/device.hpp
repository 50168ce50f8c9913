// State that the files behind runtime.hpp share: the lock, the frame of every runtime function,
// memory and streams of the emulated devices. No .cu file includes this.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

#include "runtime.hpp"
#include "settings.hpp"
#include "threads.hpp"

namespace gtn::emulated {

// Everything here is one thread at a time, kernels included.
std::recursive_mutex& runtime_lock();
cudaError_t remember(cudaError_t error);  // for cudaGetLastError
int current_device();

// The frame of a runtime function: failures that are asked for, the lock, the last error. Most
// functions fail where there is no device.
template <class Body>
cudaError_t call(const char* function, Body body) {
  const std::lock_guard lock(runtime_lock());
  if (const cudaError_t error = injected_failure(function)) return remember(error);
  if (device_count() == 0) return remember(cudaErrorNoDevice);
  try {
    return remember(body());
  } catch (const Fault&) {
    // A destructor frees things while another exception is under way.
    if (std::uncaught_exceptions() > 0) return remember(cudaErrorLaunchFailure);
    throw;
  }
}

// --- memory.cpp ---

enum class Kind { device, host };
cudaError_t allocate(void** memory, size_t bytes, Kind kind);
cudaError_t release(void* memory, Kind kind);
struct Allocation {
  size_t bytes;
  Kind kind;
  int device;
};
// The allocation that holds an address; null: none of ours.
const Allocation* find_allocation(const void* address);
// True if the range of a copy or a fill lies in one allocation of that kind, or, for the host,
// anywhere that is not a device's.
bool lies_in(const void* memory, size_t bytes, Kind kind);
// True if the current device may touch the memory that lies or ends there.
bool device_sees(const void* address);
int64_t live_allocations();
int64_t freed_while_busy();  // calls of cudaFree for a device with work to do, so far
// While it lives, memory of a device may be touched.
class Access {
 public:
  explicit Access(int device);
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

 private:
  int device_;
};

// --- streams.cpp ---

// Puts work at the end of a stream of the current device.
cudaError_t give(cudaStream_t stream, std::function<void()> work);
// Does all the work that the stream, or every stream of the device, has been given.
cudaError_t finish_stream(cudaStream_t stream);
void finish_device(int device);
bool busy(int device);  // true if a stream of the device has work to do
int64_t live_streams();
int64_t live_events();

}  // namespace gtn::emulated
