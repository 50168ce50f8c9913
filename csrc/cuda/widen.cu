#include "cuda/device_memory.hpp"
#include "cuda/on_device.hpp"
#include "cuda/widen.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 16;

template <class From, class To>
__global__ void widen_kernel(StridedRows rows, To* to) {
  const auto* from = static_cast<const From*>(rows.data);
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rows.count * rows.dim;
       i += step) {
    const int64_t row = i / rows.dim;
    to[i] = widened(from[row * rows.row_stride + (i - row * rows.dim) * rows.column_stride]);
  }
}

template <class From>
void launch_widening(const StridedRows& rows, void* to, cudaStream_t stream) {
  using To = decltype(widened(From{}));
  const int64_t blocks = (rows.count * rows.dim + kThreads - 1) / kThreads;
  launch(widen_kernel<From, To>, dim3(static_cast<unsigned>(std::min(blocks, kMostBlocks))),
         dim3(kThreads), 0, stream, rows, static_cast<To*>(to));
}

void launch_widening(const StridedRows& rows, void* to, cudaStream_t stream) {
  switch (rows.element) {
    case Element::f16:
      return launch_widening<Float16>(rows, to, stream);
    case Element::bf16:
      return launch_widening<BFloat16>(rows, to, stream);
    case Element::f32:
      return launch_widening<float>(rows, to, stream);
    case Element::f64:
      return launch_widening<double>(rows, to, stream);
    case Element::i8:
      return launch_widening<int8_t>(rows, to, stream);
    case Element::i16:
      return launch_widening<int16_t>(rows, to, stream);
    case Element::i32:
      return launch_widening<int32_t>(rows, to, stream);
    case Element::i64:
      return launch_widening<int64_t>(rows, to, stream);
    case Element::u8:
      return launch_widening<uint8_t>(rows, to, stream);
    case Element::u16:
      return launch_widening<uint16_t>(rows, to, stream);
    case Element::u32:
      return launch_widening<uint32_t>(rows, to, stream);
    case Element::u64:
      return launch_widening<uint64_t>(rows, to, stream);
  }
}

// Goes with the memory, which is given back on its device.
class Copy {
 public:
  Copy(const StridedRows& rows, const char* name, int device)
      : device_(device),
        budget_(device, 0, nullptr),
        memory_(budget_, rows.count * rows.dim * (rows.engine_type() == DType::f32 ? 4 : 8),
                (std::string("a converted copy of ") + name).c_str()) {}
  ~Copy() {
    const OnDevice there(device_, std::nothrow);
    cudaDeviceSynchronize();  // the stream that used it may be gone
    memory_ = {};
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  void* data() const { return memory_.data(); }

 private:
  int device_;
  Budget budget_;
  DeviceArray<unsigned char> memory_;
};

}  // namespace

std::shared_ptr<const void> widen(const StridedRows& rows, const char* name, int device,
                                  void* stream) {
  const OnDevice there(device);
  const auto copy = std::make_shared<Copy>(rows, name, device);
  launch_widening(rows, copy->data(), static_cast<cudaStream_t>(stream));
  return {copy, copy->data()};
}

}  // namespace gtn::cuda
