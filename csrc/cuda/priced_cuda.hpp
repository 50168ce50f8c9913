// PricedCudaSearch: the PricedSearch of optimal transport on a device. The device keeps codes of
// the latents (priced_kernels.hpp) and their biases, which follow the prices; codes of sources go
// there with each search, as a source is searched a few times a run. The host keeps rows and exact
// scores.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/distinct.hpp"
#include "core/parallel.hpp"
#include "core/price_view.hpp"
#include "core/priced_search.hpp"
#include "core/score_grid.hpp"
#include "cuda/backend_cuda.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/on_device.hpp"
#include "cuda/placed_rows.hpp"
#include "cuda/priced_kernels.hpp"

namespace gtn::cuda {

// What a search takes of a device's memory. Pure arithmetic.
struct PricedPlan {
  int32_t tiles, stride;
  int32_t most_window, window;  // sources at once: wanted, and what fits

  PricedPlan(int64_t latents, int64_t dim, int64_t sources);
  int64_t bytes(int64_t sources) const;
  int64_t least_bytes() const;
  // Sets the window to what `available` bytes hold; false if not even the smallest fits.
  bool fit(int64_t available);
  // Keys that lists of a window may have in all.
  int64_t key_room(int64_t sources) const;
};

class PricedCudaSearch final : public PricedSearch {
 public:
  // Throws std::invalid_argument for options, OutOfMemory, and Error where CUDA fails.
  PricedCudaSearch(const Options& options, const Scorer& scorer, const ScoreGrid& grid,
                   const DistinctLatents& distinct, PriceView prices, Parallel& parallel,
                   PricedDeviceStats& stats);

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId> ids) override;

 private:
  void make_room();
  void write_codes();
  float bias_of(LatentId id) const;
  void tell_prices();
  void search_window(std::span<const SourceRow> sources, int64_t depth,
                     std::span<PricedList> lists);
  bool bounds_one(SourceRow source, const PricedList& list) const;

  const Options options_;
  const Scorer& scorer_;
  const ScoreGrid& grid_;
  const DistinctLatents& distinct_;
  PriceView prices_;
  Parallel& parallel_;
  PricedDeviceStats& stats_;
  double unit_;  // of dot products of codes, in dot products of rows
  PricedPlan plan_;

  std::optional<OnDevice> preparing_;  // until the search is made
  RunStream stream_;
  Budget budget_;
  DeviceArray<float> codes_, biases_, sources_, upper_;
  DeviceArray<uint64_t> keys_;
  DeviceArray<int32_t> lengths_;
  DeviceArray<uint32_t> outside_;
  DeviceArray<Repriced> changes_;
  // On the host, pinned.
  PinnedArray<float> bias_;  // by id, and past them as PricedTask wants
  PinnedArray<float> their_sources_;
  PinnedArray<uint64_t> their_keys_;
  PinnedArray<int32_t> their_lengths_;
  PinnedArray<uint32_t> their_outside_;
  PinnedArray<Repriced> their_changes_;

  std::vector<float> error_;      // by id, of the dot product of codes
  std::vector<uint8_t> changed_;  // by id, 1 if the device knows an older price
  std::vector<LatentId> untold_;  // those ids
  uint32_t turn_ = 0;             // searches of windows
};

}  // namespace gtn::cuda
