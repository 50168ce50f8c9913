// PhaseClock: device time by phases, measured by events on the stream and read when the stream has
// been waited for anyway.
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "cuda/simt.hpp"

namespace gtn::cuda {

class PhaseClock {
 public:
  explicit PhaseClock(cudaStream_t stream) : stream_(stream) {}
  PhaseClock(const PhaseClock&) = delete;
  PhaseClock& operator=(const PhaseClock&) = delete;
  ~PhaseClock() {
    for (cudaEvent_t e : events_) cudaEventDestroy(e);
  }

  // A phase lasts from the last mark to this one; `seconds` outlives the next collect().
  void begin() { last_ = record(); }
  void end(double& seconds) {
    const size_t now = record();
    spans_.push_back({last_, now, &seconds});
    last_ = now;
  }
  // The stream has passed all marks: adds their times up.
  void collect() {
    for (const Span& span : spans_) {
      float milliseconds = 0.0f;
      check(cudaEventElapsedTime(&milliseconds, events_[span.begin], events_[span.end]),
            "reading a time");
      *span.seconds += 1e-3 * static_cast<double>(milliseconds);
    }
    spans_.clear();
    used_ = 0;
  }

 private:
  struct Span {
    size_t begin, end;
    double* seconds;
  };
  size_t record() {
    if (used_ == events_.size()) {
      cudaEvent_t event = nullptr;
      check(cudaEventCreate(&event), "making an event");
      events_.push_back(event);
    }
    check(cudaEventRecord(events_[used_], stream_), "recording an event");
    return used_++;
  }

  cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;
  std::vector<Span> spans_;
  size_t used_ = 0, last_ = 0;
};

}  // namespace gtn::cuda
