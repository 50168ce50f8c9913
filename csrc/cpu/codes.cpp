#include "cpu/codes.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <numeric>
#include <utility>

#include "core/shortlist.hpp"
#include "core/unit_vectors.hpp"
#include "cpu/cells.hpp"

namespace gtn {
namespace {

// A band has at least so many latents, and at least this share of its cell: bands end in a panel
// that is not full.
constexpr int64_t kFewestInBand = 1024;
constexpr int64_t kMostBands = 32;

// Floors are raised when so many prices have risen for each latent.
constexpr double kRisesPerLatent = 0.25;

// Lanes of a panel that are quantised before they are woven into it.
constexpr int64_t kWoven = 16;

// Classes of largest coordinates, four to a power of two.
constexpr size_t kClasses = 1024;
size_t class_of(double largest) {
  return std::bit_cast<uint32_t>(static_cast<float>(largest)) >> 21;
}

// The extents of the latents of one class.
struct ClassExtent {
  int64_t count = 0;
  Extent extent;

  void add(const Extent& e, int64_t n) {
    count += n;
    extent.largest = std::max(extent.largest, e.largest);
    extent.norm = std::max(extent.norm, e.norm);
  }
};

// The free ids, spread so that every stretch is a fair sample and thresholds settle early whatever
// the order of the ids means; in short runs, because what is known of ids lies in their order.
std::vector<LatentId> spread_ids(const FreeLatents& free) {
  constexpr int64_t kRun = 32;
  std::vector<LatentId> ids;
  ids.reserve(free.ids());
  for (LatentId id = 0; id < free.distinct().count(); ++id) {
    if (free.is_free(id)) ids.push_back(id);
  }
  const int64_t n = std::ssize(ids);
  const int64_t runs = (n + kRun - 1) / kRun;
  int64_t stride = static_cast<int64_t>(static_cast<double>(runs) * 0.6180339887498949) | 1;
  while (std::gcd(stride, runs) != 1) stride += 2;
  std::vector<int32_t> spread;
  spread.reserve(ids.size());
  for (int64_t i = 0, run = 0; i < runs; ++i, run = (run + stride) % runs) {
    const auto from = ids.begin() + run * kRun;
    spread.insert(spread.end(), from, ids.begin() + std::min(n, (run + 1) * kRun));
  }
  return spread;
}

double code_limit(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::int8 ? 127.0 : 32767.0;
}

}  // namespace

void LatentCodes::FreeDeleter::operator()(std::byte* p) const {
  std::free(p);
}

int64_t LatentCodes::bytes_for(int64_t n, int64_t dim, Arithmetic arithmetic) {
  // The last panel of a band may be all but empty.
  const int64_t bands = n / kFewestInBand + (n < kFewestToSplit ? 1 : kMostCells);
  const int64_t panels = n / kPanelLatents + bands;
  return panels * kPanelLatents * (4 * steps_for(dim, arithmetic) + 4) + 4 * n;
}

int64_t LatentCodes::bytes() const {
  return panel_count_ * (panel_bytes() + 4 * kPanelLatents) + std::ssize(position_of_) * 4;
}

LatentCodes::LatentCodes(const Scorer& scorer, const FreeLatents& free, Arithmetic arithmetic,
                         Parallel& parallel, std::optional<Pricing> pricing)
    : scorer_(scorer),
      distinct_(free.distinct()),
      pricing_(pricing),
      arithmetic_(arithmetic),
      dim_(scorer.latents().dim),
      steps_(steps_for(dim_, arithmetic) + (pricing ? 1 : 0)),
      live_(free.ids()) {
  auto members = choose_cells(scorer, distinct_, spread_ids(free), parallel);
  cells_.resize(members.size());
  for (size_t c = 0; c < members.size(); ++c) {
    // Any fixed vector gives valid bounds.
    const auto row_at = [&](int64_t i) { return distinct_.row(members[c][i]); };
    cells_[c].centre = mean_direction(scorer.latents(), std::ssize(members[c]), row_at, parallel);
    make_bands(members[c], cells_[c], parallel);
  }
  // Kernels may read a little past the last panel (kernels.hpp).
  constexpr size_t kPast = size_t{kMostStepMultiple} * kPanelLatents * 4;
  const size_t bytes = panel_count_ * panel_bytes() + kPast;
  panels_.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  if (!panels_) throw std::bad_alloc();
  std::memset(panels_.get() + bytes - kPast, 0, kPast);
  id_at_.assign(panel_count_ * kPanelLatents, -1);
  position_of_.assign(distinct_.count(), -1);
  for (size_t c = 0; c < members.size(); ++c) {
    std::span<const LatentId> ids(members[c]);
    for (int32_t b = cells_[c].first_band; b < cells_[c].end_band; ++b) {
      Band& band = bands_[b];
      encode_band(ids.first(band.live), cells_[c], band, parallel);
      ids = ids.subspan(band.live);
    }
  }
}

// v = x/|x| - c
void LatentCodes::offset_row(std::span<const LatentId> ids, int64_t i, const Cell& cell,
                             double* out) const {
  const size_t ahead = i + kRowsAhead;
  if (ahead < ids.size()) prefetch_row(scorer_.latents(), distinct_.row(ids[ahead]));
  unit_row(scorer_.latents(), distinct_.row(ids[i]), out);
  const double* centre = cell.centre.data();
  for (int64_t k = 0; k < dim_; ++k) out[k] -= centre[k];
}

// Orders the cell's ids by band, and appends the bands with their steps, radii and places.
void LatentCodes::make_bands(std::vector<LatentId>& ids, Cell& cell, Parallel& parallel) {
  const int64_t n = std::ssize(ids);
  std::vector<uint16_t> class_of_id(ids.size());
  std::vector<ClassExtent> classes(kClasses);
  std::mutex mutex;
  parallel.run(n, 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim_);
    std::vector<Extent> extents;
    extents.reserve(end - begin);
    for (int64_t i = begin; i < end; ++i) {
      offset_row(ids, i, cell, v.data());
      extents.push_back(extent_of(v.data(), dim_));
      class_of_id[i] = static_cast<uint16_t>(class_of(extents.back().largest));
    }
    std::lock_guard lock(mutex);
    for (int64_t i = begin; i < end; ++i) {
      classes[class_of_id[i]].add(extents[i - begin], 1);
    }
  });

  // From the largest coordinates down; what is left over joins the last band.
  const int64_t fewest = std::max(kFewestInBand, n / kMostBands);
  cell.first_band = static_cast<int32_t>(bands_.size());
  std::vector<size_t> band_of_class(kClasses, 0);
  std::vector<ClassExtent> bands;
  ClassExtent open;
  int64_t left = n;
  for (size_t k = kClasses; k-- > 0;) {
    open.add(classes[k].extent, classes[k].count);
    left -= classes[k].count;
    band_of_class[k] = bands.size();
    if (open.count >= fewest && left >= fewest) {
      bands.push_back(open);
      open = {};
    }
  }
  bands.push_back(open);

  std::vector<size_t> next(bands.size(), 0);
  for (size_t b = 0; b < bands.size(); ++b) {
    if (b + 1 < bands.size()) next[b + 1] = next[b] + bands[b].count;
    Band band;
    band.first_panel = panel_count_;
    band.live = bands[b].count;
    band.step = step_for(bands[b].extent, code_limit(arithmetic_), dim_, pricing_.has_value());
    band.radius = bands[b].extent.norm;
    panel_count_ += band.panels();
    band_of_panel_.resize(panel_count_, static_cast<int32_t>(bands_.size()));
    bands_.push_back(band);
  }
  cell.end_band = static_cast<int32_t>(bands_.size());
  if (bands.size() == 1) return;
  std::vector<int32_t> ordered(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ordered[next[band_of_class[class_of_id[i]]]++] = ids[i];
  ids.swap(ordered);
}

void LatentCodes::encode_band(std::span<const LatentId> ids, const Cell& cell, Band& band,
                              Parallel& parallel) {
  const int64_t n = band.live;
  if (pricing_) band.floor = cheapest(ids);
  const bool narrow = arithmetic_ == Arithmetic::int8;
  const size_t row_bytes = static_cast<size_t>(steps_) * 4;
  std::mutex mutex;
  double left = 0.0;
  parallel.run(band.panels(), 8, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim_);
    // int8 latents carry 128 in every code, also in the dimensions that fill up the last step.
    std::vector<std::byte> rows(kWoven * row_bytes, std::byte{static_cast<uint8_t>(narrow * 128)});
    double most = 0.0;
    for (int64_t at = begin * kPanelLatents; at < end * kPanelLatents; at += kWoven) {
      const int64_t position = band.first_panel * kPanelLatents + at;
      for (int64_t i = 0; i < kWoven && at + i < n; ++i) {
        const LatentId id = ids[at + i];
        id_at_[position + i] = id;
        position_of_[id] = static_cast<int32_t>(position + i);
        offset_row(ids, at + i, cell, v.data());
        std::byte* row = rows.data() + i * row_bytes;
        most = std::max(
            most, narrow ? quantise(v.data(), dim_, band.step, 128, reinterpret_cast<uint8_t*>(row))
                         : quantise(v.data(), dim_, band.step, 0, reinterpret_cast<int16_t*>(row)));
        if (pricing_) code_price(id, band, row + row_bytes - 4);
      }
      std::byte* out = lane(position);
      for (int32_t s = 0; s < steps_; ++s, out += 4 * kPanelLatents) {
        for (int64_t i = 0; i < kWoven; ++i) {
          std::memcpy(out + 4 * i, rows.data() + i * row_bytes + 4 * s, 4);
        }
      }
    }
    std::lock_guard lock(mutex);
    left = std::max(left, most);
  });
  band.residual = residual_bound(left, band.step, band.radius, dim_);
}

void LatentCodes::code_price(LatentId id, const Band& band, void* out) const {
  const double sum = (pricing_->of[id] - band.floor) / (band.step * pricing_->source_step);
  constexpr double kMost = 0x1p40;
  pricing_->digits.write(price_shift() - std::llrint(std::min(sum, kMost)), out);
}

void LatentCodes::reprice(std::span<const LatentId> ids) {
  repriced_ += std::ssize(ids);
  if (static_cast<double>(repriced_) >= kRisesPerLatent * static_cast<double>(live_)) {
    raise_floors();
  }
  for (const LatentId id : ids) {
    const int32_t position = position_of_[id];
    code_price(id, bands_[band_of(position)], lane(position) + (steps_ - 1) * 4 * kPanelLatents);
  }
}

double LatentCodes::cheapest(std::span<const LatentId> ids) const {
  double least = kInfinity;
  for (const LatentId id : ids) least = std::min(least, pricing_->of[id]);
  return least;
}

void LatentCodes::raise_floors() {
  repriced_ = 0;
  for (Band& band : bands_) {
    const int64_t first = band.first_panel * kPanelLatents;
    const std::span<const LatentId> ids = std::span(id_at_).subspan(first, band.live);
    const double least = cheapest(ids);
    if (!(least > band.floor)) continue;
    band.floor = least;
    for (int64_t i = 0; i < band.live; ++i) {
      code_price(ids[i], band, lane(first + i) + (steps_ - 1) * 4 * kPanelLatents);
    }
  }
}

void LatentCodes::remove(std::span<const LatentId> ids, Parallel& parallel) {
  // First who goes where: the latents behind a band's new end fill its holes before that. Then the
  // moves, of which none reads what another writes.
  moves_.clear();
  std::vector<int64_t> ends;  // of the bands, before the removal
  for (const Band& band : bands_) ends.push_back(band.live);
  for (const LatentId id : ids) {
    const int32_t hole = position_of_[id];
    if (hole < 0) continue;
    position_of_[id] = -1;
    id_at_[hole] = -1;
    --bands_[band_of(hole)].live;
    --live_;
    moves_.push_back({-1, hole});
  }
  size_t kept = 0;
  for (const Move& move : moves_) {
    const size_t b = band_of(move.to);
    const int64_t first = bands_[b].first_panel * kPanelLatents;
    if (move.to - first >= bands_[b].live) continue;
    int64_t& end = ends[b];
    do {
      --end;
    } while (id_at_[first + end] < 0);
    const auto from = static_cast<int32_t>(first + end);
    const int32_t moved = std::exchange(id_at_[from], -1);
    id_at_[move.to] = moved;
    position_of_[moved] = move.to;
    moves_[kept++] = {from, move.to};
  }
  moves_.resize(kept);
  parallel.run(kept, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Move& move = moves_[i];
      std::byte* to = lane(move.to);
      const std::byte* from = lane(move.from);
      for (int32_t s = 0; s < steps_; ++s) std::memcpy(to + s * 256, from + s * 256, 4);
    }
  });
}

}  // namespace gtn
