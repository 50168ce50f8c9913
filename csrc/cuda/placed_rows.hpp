// Where a run on a device works: its stream, and rows where kernels can read them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/parallel.hpp"
#include "core/rows.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/rows_view.hpp"
#include "cuda/upload.hpp"

namespace gtn::cuda {

// The caller's stream, or one of our own.
class RunStream {
 public:
  explicit RunStream(void* given) : stream_(static_cast<cudaStream_t>(given)), own_(!given) {
    if (own_) check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~RunStream() {
    // Arrays that kernels still work on are about to go.
    cudaStreamSynchronize(stream_);
    if (own_) cudaStreamDestroy(stream_);
  }
  RunStream(const RunStream&) = delete;
  RunStream& operator=(const RunStream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_;
  bool own_;
};

inline int64_t bytes_of(const Rows& rows) {
  return rows.count * rows.dim * (rows.dtype == DType::f32 ? 4 : 8);
}

// Rows as given, copied to the device, or in pinned memory.
class PlacedRows {
 public:
  PlacedRows(const Rows& rows, bool on_device, bool mapped, Budget& budget, Parallel& parallel,
             cudaStream_t stream) {
    view_ = {rows.data, nullptr, rows.dim, rows.dtype == DType::f64};
    if (on_device) return;
    const int64_t bytes = bytes_of(rows);
    if (mapped) {
      pinned_ = PinnedArray<unsigned char>(bytes, rows.name, stream);
      view_.data = pinned_.on_device();
      copy_on_host(pinned_.data(), rows.data, bytes, parallel);
    } else {
      copy_ = DeviceArray<unsigned char>(budget, bytes, rows.name);
      view_.data = copy_.data();
      upload(copy_.data(), rows.data, bytes, parallel, stream);
    }
  }
  const RowsView& view() const { return view_; }

 private:
  RowsView view_;
  DeviceArray<unsigned char> copy_;
  PinnedArray<unsigned char> pinned_;
};

}  // namespace gtn::cuda
