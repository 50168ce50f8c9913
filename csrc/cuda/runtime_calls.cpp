#include "cuda/runtime_calls.hpp"

#include "cuda/on_device.hpp"

namespace gtn::cuda {

Stream::Stream(int device) : device_(device) {
  const OnDevice there(device);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  handle_ = stream;
}

Stream::~Stream() {
  const OnDevice there(device_, std::nothrow);
  cudaStreamDestroy(static_cast<cudaStream_t>(handle_));
}

void copy_to_host(void* to, const void* from, int64_t bytes, int device, void* stream) {
  const OnDevice there(device);
  const auto on = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, on),
        "copying to the host");
  check(cudaStreamSynchronize(on), "copying to the host");
}

Versions versions() {
  Versions v{};
  check(cudaDriverGetVersion(&v.driver), "asking for the driver's version");
  check(cudaRuntimeGetVersion(&v.runtime), "asking for the runtime's version");
  return v;
}

}  // namespace gtn::cuda
