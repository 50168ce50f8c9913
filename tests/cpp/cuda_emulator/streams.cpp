// Streams, events, copies and launches. A stream's work waits in a queue until something waits for
// the stream; a query does one piece of it. Copies between a device and pageable host memory behave
// as CUDA's: to the device they take the source's bytes at once, from it they wait.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "device.hpp"

struct CUstream_st {
  int device;
  bool blocking;  // waits for the device's null stream and makes it wait
  std::deque<std::function<void()>> work;
  uint64_t given = 0, done = 0;
};

struct CUevent_st {
  struct Record {
    std::shared_ptr<CUstream_st> stream;
    uint64_t place;  // in its work
    bool done = false;
    std::chrono::steady_clock::time_point when;
  };
  bool timing;
  std::shared_ptr<Record> record;  // the last one; null: never recorded
};

namespace gtn::emulated {

namespace {

using Stream = std::shared_ptr<CUstream_st>;

std::map<cudaStream_t, Stream> streams;
std::map<int, Stream> null_streams;  // by device
std::map<cudaEvent_t, std::unique_ptr<CUevent_st>> events;
struct Allowed {
  size_t bytes;  // of dynamic shared memory
  size_t limit;  // of the device
};
std::map<void (*)(), Allowed> allowed_shared;  // where it is more than 48 KB, by kernel

constexpr size_t kSharedBytes = 48 << 10;

// Null: not a stream of the current device.
Stream find_stream(cudaStream_t handle) {
  const int device = current_device();
  if (handle == nullptr || handle == cudaStreamLegacy) {
    Stream& stream = null_streams[device];
    if (!stream) stream = std::make_shared<CUstream_st>(CUstream_st{device, true, {}});
    return stream;
  }
  const auto found = streams.find(handle);
  return found == streams.end() || found->second->device != device ? nullptr : found->second;
}

void do_one(CUstream_st& stream) {
  const std::function<void()> work = std::move(stream.work.front());
  stream.work.pop_front();
  ++stream.done;
  const Access access(stream.device);
  try {
    work();
  } catch (...) {
    stream.done += stream.work.size();
    stream.work.clear();
    throw;
  }
}

void finish(CUstream_st& stream, uint64_t place) {
  while (stream.done < place) do_one(stream);
}

void append(CUstream_st& stream, std::function<void()> work) {
  stream.work.push_back(std::move(work));
  ++stream.given;
}

void append_wait(CUstream_st& stream, const Stream& other) {
  if (other->done == other->given) return;
  append(stream, [other, place = other->given] { finish(*other, place); });
}

cudaError_t give(const Stream& stream, std::function<void()> work) {
  if (!stream) return cudaErrorInvalidResourceHandle;
  const auto null = null_streams.find(stream->device);
  if (null != null_streams.end() && null->second == stream) {
    for (const auto& [handle, other] : streams) {
      if (other->blocking && other->device == stream->device) append_wait(*stream, other);
    }
  } else if (null != null_streams.end() && stream->blocking) {
    append_wait(*stream, null->second);
  }
  append(*stream, std::move(work));
  return cudaSuccess;
}

// Copies rows of `width` bytes; one row for a plain copy.
cudaError_t copy(cudaStream_t handle, bool wait, void* to, size_t to_pitch, const void* from,
                 size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind) {
  const Stream stream = find_stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (width == 0 || height == 0) return cudaSuccess;
  if (to_pitch < width || from_pitch < width) return cudaErrorInvalidValue;
  const size_t to_bytes = to_pitch * (height - 1) + width;
  const size_t from_bytes = from_pitch * (height - 1) + width;
  const auto lies = [&](const void* memory, size_t bytes, bool device) {
    return kind == cudaMemcpyDefault
               ? lies_in(memory, bytes, Kind::device) || lies_in(memory, bytes, Kind::host)
               : lies_in(memory, bytes, device ? Kind::device : Kind::host);
  };
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (!lies(to, to_bytes, to_device) || !lies(from, from_bytes, from_device)) {
    return cudaErrorInvalidValue;
  }
  const auto* source = static_cast<const unsigned char*>(from);
  std::shared_ptr<std::vector<unsigned char>> staged;
  if (find_allocation(from) == nullptr) {  // pageable
    staged = std::make_shared<std::vector<unsigned char>>(source, source + from_bytes);
    source = staged->data();
  }
  const bool to_pageable = find_allocation(to) == nullptr;
  const cudaError_t error = give(stream, [=, kept = staged] {
    for (size_t row = 0; row < height; ++row) {
      std::memcpy(static_cast<unsigned char*>(to) + row * to_pitch, source + row * from_pitch,
                  width);
    }
  });
  if (error == cudaSuccess && (wait || to_pageable)) finish(*stream, stream->given);
  return error;
}

cudaError_t fill(cudaStream_t handle, void* memory, int value, size_t bytes) {
  if (!lies_in(memory, bytes, Kind::device)) return cudaErrorInvalidValue;
  return give(find_stream(handle), [=] {
    if (bytes > 0) std::memset(memory, value, bytes);
  });
}

CUevent_st* find_event(cudaEvent_t handle) {
  const auto found = events.find(handle);
  return found == events.end() ? nullptr : found->second.get();
}

}  // namespace

cudaError_t give(cudaStream_t stream, std::function<void()> work) {
  return give(find_stream(stream), std::move(work));
}

cudaError_t submit(const char* function, cudaStream_t stream, std::function<void()> work) {
  return call(function, [&] { return give(stream, std::move(work)); });
}

cudaError_t finish_stream(cudaStream_t handle) {
  const Stream stream = find_stream(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  finish(*stream, stream->given);
  return cudaSuccess;
}

void finish_device(int device) {
  const auto null = null_streams.find(device);
  if (null != null_streams.end()) finish(*null->second, null->second->given);
  for (const auto& [handle, stream] : streams) {
    if (stream->device == device) finish(*stream, stream->given);
  }
}

bool busy(int device) {
  const auto has_work = [](const CUstream_st& stream) { return stream.done < stream.given; };
  const auto null = null_streams.find(device);
  if (null != null_streams.end() && has_work(*null->second)) return true;
  return std::any_of(streams.begin(), streams.end(), [&](const auto& entry) {
    return entry.second->device == device && has_work(*entry.second);
  });
}

int64_t live_streams() {
  const std::lock_guard lock(runtime_lock());
  return static_cast<int64_t>(streams.size());
}

int64_t live_events() {
  const std::lock_guard lock(runtime_lock());
  return static_cast<int64_t>(events.size());
}

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, void (*kernel)(),
                          std::vector<const void*> pointers, std::function<void()> body) {
  return call("cudaLaunchKernelEx", [&] {
    const dim3 blocks = config.gridDim, threads = config.blockDim;
    const size_t block = size_t{threads.x} * threads.y * threads.z;
    if (block == 0 || block > 1024 || threads.z > 64 || blocks.x == 0 || blocks.x > 0x7fffffffu ||
        blocks.y == 0 || blocks.y > 0xffff || blocks.z == 0 || blocks.z > 0xffff) {
      return cudaErrorInvalidConfiguration;
    }
    const auto allowed = allowed_shared.find(kernel);
    if (config.dynamicSmemBytes >
        (allowed == allowed_shared.end() ? kSharedBytes : allowed->second.bytes)) {
      return cudaErrorInvalidValue;
    }
    if (config.numAttrs > 0) return cudaErrorNotSupported;
    for (const void* pointer : pointers) {
      if (pointer != nullptr && !device_sees(pointer)) {
        throw Fault("CUDA emulator: a kernel is given a pointer to what its device cannot touch");
      }
    }
    return give(config.stream,
                [blocks, threads, shared = config.dynamicSmemBytes, run = std::move(body)] {
                  reseed_if_asked();
                  note_launch();
                  run_grid(blocks, threads, shared, run);
                });
  });
}

cudaError_t allow_dynamic_shared(void (*kernel)(), cudaFuncAttribute attribute, int value) {
  return call("cudaFuncSetAttribute", [&] {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    cudaDeviceProp properties;
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, current_device())) {
      return error;
    }
    const auto bytes = static_cast<size_t>(value);
    if (value < 0 || bytes > properties.sharedMemPerBlockOptin) return cudaErrorInvalidValue;
    const auto before = allowed_shared.find(kernel);
    if (before != allowed_shared.end() &&
        before->second.limit == properties.sharedMemPerBlockOptin && bytes < before->second.bytes) {
      throw Fault(
          "a kernel's limit of shared memory shrinks: launches of other threads may need it");
    }
    allowed_shared[kernel] = {std::max(bytes, kSharedBytes), properties.sharedMemPerBlockOptin};
    return cudaSuccess;
  });
}

cudaError_t function_attributes(cudaFuncAttributes* attributes) {
  return call("cudaFuncGetAttributes", [&] {
    *attributes = {};
    return cudaSuccess;
  });
}

}  // namespace gtn::emulated

using namespace gtn::emulated;  // NOLINT: what follows is that namespace's C face

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return call(__func__,
              [&] { return copy(nullptr, true, to, bytes, from, bytes, bytes, 1, kind); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call(__func__,
              [&] { return copy(stream, false, to, bytes, from, bytes, bytes, 1, kind); });
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind) {
  return call(__func__, [&] {
    return copy(nullptr, true, to, to_pitch, from, from_pitch, width, height, kind);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return call(__func__, [&] {
    return copy(stream, false, to, to_pitch, from, from_pitch, width, height, kind);
  });
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  return call(__func__, [&] { return fill(nullptr, memory, value, bytes); });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return call(__func__, [&] { return fill(stream, memory, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call(__func__, [&] {
    const bool blocking = flags != cudaStreamNonBlocking;
    auto made = std::make_shared<CUstream_st>(CUstream_st{current_device(), blocking, {}});
    *stream = made.get();
    streams[made.get()] = std::move(made);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call(__func__, [&] {
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = finish_stream(stream);
    streams.erase(stream);
    return error;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call(__func__, [&] { return finish_stream(stream); });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call(__func__, [&] {
    const Stream stream = find_stream(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->work.empty()) return cudaSuccess;
    do_one(*stream);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return call(__func__, [&] {
    const CUevent_st* found = find_event(event);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (!found->record) return cudaSuccess;
    return give(stream, [record = found->record] { finish(*record->stream, record->place); });
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call(__func__, [&] {
    finish_device(current_device());
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call(__func__, [&] {
    auto made = std::make_unique<CUevent_st>();
    made->timing = !(flags & cudaEventDisableTiming);
    *event = made.get();
    events[made.get()] = std::move(made);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call(__func__, [&] {
    return events.erase(event) == 1 ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  return call(__func__, [&] {
    CUevent_st* found = find_event(event);
    const Stream stream = find_stream(handle);
    if (found == nullptr || !stream) return cudaErrorInvalidResourceHandle;
    auto record = std::make_shared<CUevent_st::Record>();
    found->record = record;
    const cudaError_t error = give(stream, [record] {
      record->done = true;
      record->when = std::chrono::steady_clock::now();
    });
    record->stream = stream;
    record->place = stream->given;
    return error;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call(__func__, [&] {
    const CUevent_st* found = find_event(event);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (found->record) finish(*found->record->stream, found->record->place);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call(__func__, [&] {
    const CUevent_st* found = find_event(event);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (!found->record || found->record->done) return cudaSuccess;
    do_one(*found->record->stream);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call(__func__, [&] {
    const CUevent_st *a = find_event(start), *b = find_event(end);
    if (a == nullptr || b == nullptr || !a->timing || !b->timing || !a->record || !b->record) {
      return cudaErrorInvalidResourceHandle;
    }
    if (!a->record->done || !b->record->done) return cudaErrorNotReady;
    *milliseconds =
        std::chrono::duration<float, std::milli>(b->record->when - a->record->when).count();
    return cudaSuccess;
  });
}
