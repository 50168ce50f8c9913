// Integer codes of the free latents, with rigorous error bounds. The scan kernels read these.
//
// A latent x in a cell with centre c is coded as v = x/|x| - c ~ step * code, a source y as
// y/|y| ~ source step * code. Subtracting c adds the same <y/|y|, c> to every score of the cell, so
// only the small part is coded and off-centre data loses nothing. By Cauchy-Schwarz
//   |<y/|y|, x/|x|> - (base + unit * sum)| <= |coded y| residual + |y residual| radius + rounding
// with base = <y/|y|, c>, unit = step * source step, sum the integer dot product, residual and
// radius the largest |v - step * code| and |v| of those that share a step.
//
// A cell's latents lie in bands by their largest coordinate, each with a step of its own: one step
// for all would be that of the most extreme latent, twice as coarse as most need in Gaussian data
// and far worse in heavy tails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "cpu/kernels.hpp"
#include "cpu/quantise.hpp"

namespace gtn {

// Prices of latents in the codes (quantise.hpp), in the units of cosines.
struct Pricing {
  PriceDigits digits;
  double source_step;          // of all sources
  std::span<const double> of;  // [ids]
};

struct Band {
  int64_t first_panel = 0;
  int64_t live = 0;  // coded latents; they fill the band's panels from the front
  double step = 1.0;
  double residual = 0.0;  // >= |v - step * code| of every latent
  double radius = 0.0;    // >= |v| of every latent
  double floor = 0.0;     // <= the price of every latent, to which digits are relative

  int64_t panels() const { return (live + kPanelLatents - 1) / kPanelLatents; }
};

struct Cell {
  std::vector<double> centre;  // [dim]
  int32_t first_band = 0;
  int32_t end_band = 0;
};

// The free latents' codes in panels, band by band. Removal fills the hole with one of the band's
// last latents, so panels stay dense and nothing is ever repacked.
class LatentCodes {
 public:
  LatentCodes(const Scorer& scorer, const FreeLatents& free, Arithmetic arithmetic,
              Parallel& parallel, std::optional<Pricing> pricing = {});

  Arithmetic arithmetic() const { return arithmetic_; }
  int32_t steps() const { return steps_; }
  int64_t live() const { return live_; }
  const std::vector<Cell>& cells() const { return cells_; }
  const std::vector<Band>& bands() const { return bands_; }
  const void* panels() const { return panels_.get(); }
  LatentId id_at(int32_t position) const { return id_at_[position]; }
  void remove(std::span<const LatentId> ids, Parallel& parallel);
  // Codes the prices of these ids anew.
  void reprice(std::span<const LatentId> ids);
  // What sums carry beside products and prices, as the price's digits have a range of both signs.
  int32_t price_shift() const { return pricing_ ? pricing_->digits.largest() : 0; }
  int64_t bytes() const;
  // Bytes of the codes of n latents, for budgets.
  static int64_t bytes_for(int64_t n, int64_t dim, Arithmetic arithmetic);

 private:
  struct FreeDeleter {
    void operator()(std::byte* p) const;
  };
  // One latent's move into a hole: positions.
  struct Move {
    int32_t from, to;
  };
  void make_bands(std::vector<LatentId>& ids, Cell& cell, Parallel& parallel);
  void encode_band(std::span<const LatentId> ids, const Cell& cell, Band& band, Parallel& parallel);
  // Writes v of ids[i].
  void offset_row(std::span<const LatentId> ids, int64_t i, const Cell& cell, double* out) const;
  int64_t panel_bytes() const { return int64_t{4} * kPanelLatents * steps_; }
  std::byte* lane(int64_t position) const {
    return panels_.get() + position / kPanelLatents * panel_bytes() + position % kPanelLatents * 4;
  }
  void code_price(LatentId id, const Band& band, void* out) const;
  double cheapest(std::span<const LatentId> ids) const;
  void raise_floors();
  size_t band_of(int32_t position) const { return band_of_panel_[position / kPanelLatents]; }

  const Scorer& scorer_;
  const DistinctLatents& distinct_;
  std::optional<Pricing> pricing_;
  Arithmetic arithmetic_;
  int64_t dim_;
  int32_t steps_;
  int64_t live_;
  int64_t panel_count_ = 0;
  std::unique_ptr<std::byte[], FreeDeleter> panels_;  // 64-byte aligned
  std::vector<Cell> cells_;
  std::vector<Band> bands_;
  std::vector<int32_t> band_of_panel_;
  std::vector<LatentId> id_at_;       // [panels * 64]
  std::vector<int32_t> position_of_;  // by id, -1 if not coded
  std::vector<Move> moves_;           // of the removal at hand
  int64_t repriced_ = 0;              // since floors were raised
};

}  // namespace gtn
