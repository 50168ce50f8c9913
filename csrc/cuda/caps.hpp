// CapBounds: bounds in few dimensions, where codes are too coarse and few directions fit between
// neighbours. Free latents are split by median planes into groups; a group lies in a spherical cap,
// a centre and an angle, and no cosine of its members is above that of the cap's nearest edge:
//   cos(max(0, angle(y, centre) - angle of the cap))
#pragma once

#include "cuda/bounds.hpp"

namespace gtn::cuda {

constexpr int kCapDims = 8;  // beyond, caps overlap too much and codes are better

class CapBounds final : public Bounds {
 public:
  CapBounds(Budget& budget, const Problem& problem, int32_t latents, cudaStream_t stream);

  void lay_out(int32_t count, Sorter& sorter) override;
  Groups groups() const override;
  CodeView codes() const override { return {}; }
  void write_upper(const Window& window, const Uppers& out) override;
  void remove(const int32_t* ranks, int32_t count) override;
  const char* arithmetic() const override { return "float64"; }

  static int64_t most_groups(int64_t latents);

 private:
  Problem problem_;
  cudaStream_t stream_;
  DeviceArray<float> units_;   // [latents][dim] by rank
  DeviceArray<int32_t> axes_;  // per segment: the dimension it is widest in
  DeviceArray<double>
      centres_;  // [groups][kCapDims + 2]: unit vector, cosine and sine of the angle
  DeviceArray<int32_t> ranks_, low_rank_;
  DeviceArray<int32_t> group_of_rank_, left_;  // left_: members of a group that are free
  int32_t groups_ = 0;
};

}  // namespace gtn::cuda
