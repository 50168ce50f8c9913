// The few calls of the CUDA runtime that the bindings need beside a run: a stream of their own,
// copies to the host, versions.
#pragma once

#include <cstdint>

namespace gtn::cuda {

// A stream that waits for no other, on a device.
class Stream {
 public:
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* handle() const { return handle_; }  // cudaStream_t

 private:
  int device_;
  void* handle_ = nullptr;
};

// Copies bytes of a device's memory once all that the stream (cudaStream_t) was given is done.
void copy_to_host(void* to, const void* from, int64_t bytes, int device, void* stream);

// Versions of CUDA, as it writes them: 1000 * major + 10 * minor.
struct Versions {
  int driver;   // the newest that the driver serves
  int runtime;  // of this build
};
Versions versions();

}  // namespace gtn::cuda
