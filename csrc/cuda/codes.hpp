// CodeBounds: bounds from int8 codes (scan.hpp). Free latents lie by cell and, in a cell, by their
// largest coordinate, so that a group shares a centre and a step as small as its members allow.
// csrc/cpu/codes.hpp has the same bound and the reasons for it.
#pragma once

#include "core/parallel.hpp"
#include "cuda/bounds.hpp"
#include "cuda/cells.hpp"

namespace gtn::cuda {

class CodeBounds final : public Bounds {
 public:
  // Codes lie in pinned memory of the host if `mapped`, else on the device.
  CodeBounds(Budget& budget, const Problem& problem, int32_t latents, int32_t window,
             const ScanKernel& kernel, int multiprocessors, bool mapped, Parallel& parallel,
             cudaStream_t stream);

  void lay_out(int32_t count, Sorter& sorter) override;
  Groups groups() const override;
  CodeView codes() const override;
  void write_upper(const Window& window, const Uppers& out) override;
  bool named() const override { return names(problem_.latents.dim); }
  void remove(const int32_t* ranks, int32_t count) override;
  double products() const override { return products_; }
  const char* arithmetic() const override { return "int8"; }

  static Slots slots_for(int64_t dim);
  // Groups have names (largest_sums.hpp): where rows are so wide that to read all of a group costs
  // more than the two largest sums cost the scan.
  static bool names(int64_t dim) { return stride_for(dim) >= kLeastNamedStride; }
  // Groups that this many latents may fill.
  static int64_t most_groups(int64_t latents, int64_t dim);
  static int64_t stride_for(int64_t dim);

 private:
  static constexpr int64_t kLeastNamedStride = 512;

  void place_cells(int32_t count, Sorter& sorter);

  Problem problem_;
  const ScanKernel& kernel_;
  int multiprocessors_;
  Parallel& parallel_;
  cudaStream_t stream_;
  Slots slots_;
  int32_t stride_;
  int32_t source_rows_;  // room for, a multiple of kSourceRows
  Cells cells_;
  bool cells_known_ = false;

  DeviceArray<int8_t> latent_codes_;
  PinnedArray<int8_t> mapped_codes_;
  int8_t* codes_ = nullptr;  // one of the two
  DeviceArray<GroupCode> group_codes_;
  DeviceArray<int32_t> ranks_, low_rank_;
  DeviceArray<int32_t> slot_of_rank_;
  DeviceArray<int8_t> source_codes_;
  DeviceArray<SourceCode> sources_;
  DeviceArray<float> base_;
  DeviceArray<double> centres_, partial_;
  DeviceArray<int32_t> begins_;  // per cell: first latent, first group; one more of each
  int32_t superpanels_ = 0;
  int32_t window_ = 0;  // sources of the last window
  double products_ = 0;
};

}  // namespace gtn::cuda
