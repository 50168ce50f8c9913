// PricedCudaSearch: the PricedSearch of optimal transport on a device. The device keeps codes of
// the latents (priced_kernels.hpp) and their biases, which follow the prices; codes of sources go
// there with each search, as a source is searched a few times a run. Where the latents' rows fit
// beside their codes, the device scores the lists exactly too; the host does elsewhere.
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

// Where a window's sources lie, and its lists, each in one stretch of memory that is copied at
// once: a search for a few sources takes no longer than a few copies.
struct SourcePlaces {
  int64_t rows;  // offset, behind the codes
  int64_t bytes;
};
struct ListPlaces {
  int64_t scores, lengths, outside;  // offsets, behind the keys
  int64_t bytes;
};

// What a search takes of a device's memory. Pure arithmetic.
struct PricedPlan {
  int32_t tiles, stride;
  int32_t most_window, window;  // sources at once: wanted, and what fits
  bool scores = true;           // rows lie on the device, which scores the lists exactly

  // Rows as given: types of coordinates, and how many latents and sources there are.
  PricedPlan(const Rows& latents, int64_t latent_count, const Rows& sources);
  int64_t bytes(int64_t sources) const;
  int64_t least_bytes() const;
  // Sets the window and `scores` to what `available` bytes hold; false if not even the least fits.
  bool fit(int64_t available);
  bool all_fits() const { return scores && window == most_window; }
  // Keys that lists of a window may have in all.
  int64_t key_room(int64_t sources) const;
  SourcePlaces source_places(int64_t sources) const;
  // keys: of all lists.
  ListPlaces list_places(int64_t sources, int64_t keys) const;

 private:
  int64_t bytes_of_rows_;      // of the latents, with their mean
  int64_t bytes_of_a_source_;  // as given
};

class PricedCudaSearch final : public PricedSearch {
 public:
  // Throws std::invalid_argument for options, OutOfMemory, and Error where CUDA fails. A search
  // throws WrongKernel where the scan's bounds are not those of the selection: what was found so
  // far is worth nothing. From then on a plain kernel scans on this device.
  PricedCudaSearch(const Options& options, const Scorer& scorer, const ScoreGrid& grid,
                   const DistinctLatents& distinct, PriceView prices, Parallel& parallel,
                   PricedDeviceStats& stats);

  void search(std::span<const SourceRow> sources, std::span<const int64_t> before, int64_t depth,
              std::span<PricedList> lists) override;
  void raised(std::span<const LatentId> ids) override;

 private:
  void make_room();
  void write_codes();
  void write_rows();
  float bias_of(LatentId id) const;
  void tell_prices();
  void replace_scan();
  void search_window(std::span<const SourceRow> sources, int64_t depth,
                     std::span<PricedList> lists);
  void write_sources(std::span<const SourceRow> sources);
  int64_t score_bound(float bound, LatentId id) const;
  bool one_is_right(SourceRow source, float bound, const PricedCandidate& listed) const;

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
  DeviceArray<float> codes_, biases_, upper_;
  DeviceArray<Repriced> changes_;
  DeviceArray<unsigned char> latent_rows_;
  DeviceArray<double> mean_;
  DeviceArray<unsigned char> sources_, lists_;  // of a window: SourcePlaces, ListPlaces
  // On the host, pinned.
  PinnedArray<float> bias_;  // by id, and past them as PricedTask wants
  PinnedArray<Repriced> their_changes_;
  PinnedArray<unsigned char> their_sources_, their_lists_;

  std::vector<float> error_;      // by id, of the dot product of codes
  std::vector<uint8_t> changed_;  // by id, 1 if the device knows an older price
  std::vector<LatentId> untold_;  // those ids
  uint32_t turn_ = 0;             // searches of windows
  bool plain_ = false;            // the plain kernel scans
};

}  // namespace gtn::cuda
