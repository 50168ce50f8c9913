// The greedy loop of Algorithm 1 on a device, over one group: windows of sources in visiting order;
// bounds, search, conflicts, commit. The host launches, and reads a few bytes a window. (The loop
// of the host's backends is core/greedy.hpp.)
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <span>

#include "core/parallel.hpp"
#include "core/stats.hpp"
#include "cuda/bounds.hpp"
#include "cuda/conflicts.hpp"
#include "cuda/phase_clock.hpp"

namespace gtn::cuda {

// Pinned memory of the host that the groups of a run use in turn: to get some takes long.
struct HostRoom {
  HostRoom(int32_t window, cudaStream_t stream)
      : seen(1, "counters", stream), rows(window, "results of a window", stream) {}

  PinnedArray<WindowState> seen;
  PinnedArray<int32_t> rows;
};

// The parts of a device that a run uses.
struct Resources {
  Budget& budget;
  Sorter& sorter;
  HostRoom& host;
  const ScanKernel& kernel;
  int multiprocessors;
  int32_t window;     // most sources at a time
  bool codes_mapped;  // codes lie in pinned memory of the host
  Parallel& parallel;
  cudaStream_t stream;
};

// A group, and where its pairs go; all on the device.
struct Job {
  Problem problem;       // of the group
  int32_t latents;       // ranks
  const int32_t* order;  // source rows in visiting order
  int32_t sources;
  int64_t cone;
  int32_t* assignment;  // by source row: latent rows
  double* cosine;       // by source row
};

class Matcher {
 public:
  Matcher(const Resources& resources, const Job& job, Stats& stats);

  // The first sources took these latent rows, an earlier run decided. Returns the position of the
  // first that cannot be, -1 if all can. rank_of_row: on the device, -1 for rows of other groups.
  int64_t replay(std::span<const int32_t> rows, const int32_t* rank_of_row);

  // Matches the rest. on_window(position, latent rows) follows each window.
  using OnWindow = FunctionRef<void(int64_t position, std::span<const int32_t> rows)>;
  void run(const OnWindow& on_window);

  double scan_products() const { return bounds_->products(); }
  const char* arithmetic() const { return bounds_->arithmetic(); }

  // Entries that a list has room for.
  static int32_t list_room(int64_t cone);
  static constexpr int64_t kMostCone = 1024;

 private:
  int32_t window_size() const;
  void lay_out();
  void match_window(int32_t size);
  void search(int32_t count, bool hungry);
  void resolve(int32_t size);
  void wait();
  void deliver(const OnWindow& on_window);
  void adapt(int32_t size, int32_t searched_again);

  const Resources& r_;
  const Job job_;
  Stats& stats_;
  PhaseClock clock_;
  std::unique_ptr<Bounds> bounds_;

  int64_t position_ = 0;  // sources that have their latent
  int64_t laid_out_ = 0;  // latents that were free at the last layout; 0: none yet
  int32_t depth_;
  int32_t window_limit_;
  // The window that is committed on the stream and not yet delivered.
  int64_t pending_position_ = 0;
  int32_t pending_ = 0;

  DeviceArray<int32_t> holder_, choices_, entries_, hungry_, visited_;
  DeviceArray<float> upper_;
  DeviceArray<int32_t> others_;
  DeviceArray<int32_t> list_ranks_, list_counts_, list_whole_;
  DeviceArray<double> list_scores_;
  DeviceArray<WindowState> state_;
  DeviceArray<uint8_t> free_flags_;
  Lists lists_;
};

}  // namespace gtn::cuda
