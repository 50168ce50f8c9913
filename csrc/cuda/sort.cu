#include <cub/cub.cuh>

#include "cuda/sort.hpp"

namespace gtn::cuda {
namespace {

size_t scratch_for_sort(int64_t most) {
  size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, static_cast<const uint64_t*>(nullptr),
                                        static_cast<uint64_t*>(nullptr),
                                        static_cast<const int32_t*>(nullptr),
                                        static_cast<int32_t*>(nullptr), static_cast<int>(most)),
        "planning a sort");
  return bytes;
}

size_t scratch_for_keep(int64_t most) {
  size_t bytes = 0;
  check(cub::DeviceSelect::Flagged(nullptr, bytes, static_cast<const int32_t*>(nullptr),
                                   static_cast<const uint8_t*>(nullptr),
                                   static_cast<int32_t*>(nullptr), static_cast<int32_t*>(nullptr),
                                   static_cast<int>(most)),
        "planning a selection");
  return bytes;
}

int64_t scratch_for(int64_t most) {
  return static_cast<int64_t>(std::max(scratch_for_sort(most), scratch_for_keep(most)));
}

}  // namespace

Sorter::Sorter(Budget& budget, int64_t most)
    : keys_(budget, most, "sorting"),
      other_keys_(budget, most, "sorting"),
      values_(budget, most, "sorting"),
      other_values_(budget, most, "sorting"),
      kept_(budget, 1, "sorting"),
      scratch_(budget, scratch_for(most), "sorting") {}

void Sorter::sort(int64_t count, int bits, cudaStream_t stream) {
  auto bytes = static_cast<size_t>(scratch_.size());
  check(cub::DeviceRadixSort::SortPairs(scratch_.data(), bytes, keys_.data(), other_keys_.data(),
                                        values_.data(), other_values_.data(),
                                        static_cast<int>(count), 0, bits, stream),
        "sorting");
  keys_.swap(other_keys_);
  values_.swap(other_values_);
}

void Sorter::keep(int64_t count, const uint8_t* flags, cudaStream_t stream) {
  auto bytes = static_cast<size_t>(scratch_.size());
  check(cub::DeviceSelect::Flagged(scratch_.data(), bytes, values_.data(), flags,
                                   other_values_.data(), kept_.data(), static_cast<int>(count),
                                   stream),
        "selecting");
  values_.swap(other_values_);
}

int64_t Sorter::bytes_for(int64_t most) {
  return most * 24 + 4 + scratch_for(most);
}

}  // namespace gtn::cuda
