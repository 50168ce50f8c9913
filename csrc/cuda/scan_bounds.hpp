// From the largest sums of a superpanel to upper bounds, for the kernels on tensor cores: a thread
// has rows 8 apart, of one group. What is far away is asked for before the last sums are there.
#pragma once

#include "cuda/largest_sums.hpp"
#include "cuda/scan.hpp"
#include "cuda/simt.hpp"

namespace gtn::cuda {

#ifdef GTN_DEVICE_CODE

template <int kRows>
class ScanBounds {
 public:
  // For groups[in_superpanel], in shared memory, and every eighth source from `source` on.
  __device__ void ask(const ScanTask& task, const GroupCode* groups, int in_superpanel,
                      int32_t source) {
    group_ = groups[in_superpanel];
    const float* base = task.base + int64_t{group_.cell} * task.source_rows + source;
#pragma unroll
    for (int i = 0; i < kRows; ++i) base_[i] = __ldg(base + 8 * i);
  }

  // `sources`: the code of `source`, wherever a copy is near.
  template <class Largest>
  __device__ void write(const ScanTask& task, const SourceCode* sources,
                        const Largest (&largest)[kRows], int64_t group, int32_t source) const {
    decltype(largest[0].bound(0.0f, group_, *sources)) bounds[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) bounds[i] = largest[i].bound(base_[i], group_, sources[8 * i]);
    const int64_t row = int64_t{task.superpanels} * kTileGroups;
    typename Largest::Place place(task, source * row + group);
#pragma unroll
    for (int i = 0; i < kRows; ++i, place += 8 * row)
      if (source + 8 * i < task.source_count) place.write(bounds[i]);
  }

 private:
  GroupCode group_{};
  float base_[kRows]{};
};

#endif

}  // namespace gtn::cuda
