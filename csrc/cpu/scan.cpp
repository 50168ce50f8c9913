#include "cpu/scan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

namespace gtn {
namespace {

// Panels that a group of sources scans before the next: together they stay in level-2 cache.
constexpr int64_t kPanelBytesPerChunk = 96 << 10;
constexpr int64_t kSourceBytes = 128 << 10;
constexpr int64_t kMostSources = 192;
// A kernel hands over its hits when a source has more than so many.
constexpr int32_t kHits = 64;
constexpr size_t kHitsStride = kHits + kPanelLatents + 16;
// Entries kept before the first pruning, and where a list is cut.
constexpr size_t kFirstRoom = 128;
constexpr size_t kLargestRoom = 4096;
// More values than these are counted, not sorted.
constexpr size_t kFewValues = 32;
constexpr size_t kBuckets = 128;
// Rounding of thresholds against bounds, in cosines.
constexpr double kThresholdSlack = 1e-14;

}  // namespace

int64_t Scan::most_sources(int64_t source_bytes) {
  return std::clamp<int64_t>(kSourceBytes / source_bytes, kMostTileSources, kMostSources);
}

void Scan::run(const LatentCodes& codes, const ScanKernel& kernel, const ScanSettings& settings,
               std::span<const CodedSource> sources, int64_t part, int64_t parts) {
  codes_ = &codes;
  kernel_ = &kernel;
  settings_ = settings;
  slack_ = 4.0 * rounding_slack(std::ssize(codes.cells().front().centre));
  count_ = sources.size();
  tile_sources_ = kernel.tile_sources;
  const size_t places = (count_ + tile_sources_ - 1) / tile_sources_ * tile_sources_;
  const size_t bytes = static_cast<size_t>(codes.steps()) * 4;
  const size_t multiple = static_cast<size_t>(kernel.step_multiple) * 4;
  source_bytes_ = (bytes + multiple - 1) / multiple * multiple;
  sources_.assign((places * source_bytes_ + sizeof(Line) - 1) / sizeof(Line), Line{});
  packed_.resize(sources_.size());
  least_sums_.resize(count_);
  hit_sums_.resize(tile_sources_ * kHitsStride);
  hit_positions_.resize(hit_sums_.size());
  if (rows_.size() < count_) rows_.resize(count_);
  for (size_t i = 0; i < count_; ++i) {
    const CodedSource& source = sources[i];
    std::memcpy(code(sources_, i), source.bytes, bytes);
    Row& row = rows_[i];
    row.source = &source;
    row.threshold = std::max(settings.guess + source.level, source.floor - 4.0 * kThresholdSlack);
    row.truncated = false;
    row.room = std::max<size_t>(kFirstRoom, 4 * settings.depth);
    row.settled = 0;
    row.entries.clear();
  }
  tile_.panels = codes.panels();
  tile_.steps = codes.steps();
  tile_.source_steps = static_cast<int32_t>(source_bytes_ / 4);
  for (size_t r = 0; r < tile_sources_; ++r) {
    tile_.hit_sums[r] = &hit_sums_[r * kHitsStride];
    tile_.hit_positions[r] = &hit_positions_[r * kHitsStride];
    tile_.limit[r] = kHits;
  }

  cell_of_band_.resize(codes.bands().size());
  for (size_t c = 0; c < codes.cells().size(); ++c) {
    const Cell& cell = codes.cells()[c];
    std::fill(cell_of_band_.begin() + cell.first_band, cell_of_band_.begin() + cell.end_band,
              static_cast<int32_t>(c));
  }
  for (const auto& [_, c] : cells_by_reach()) {
    const Cell& cell = codes.cells()[c];
    for (int32_t b = cell.first_band; b < cell.end_band; ++b) {
      scan_band(b, part, parts);
    }
    for (size_t i = 0; i < count_; ++i) {  // higher thresholds skip more of the cells to come
      Row& row = rows_[i];
      if (row.entries.size() > row.settled + row.settled / 2) prune(row);
    }
  }
  for (size_t i = 0; i < count_; ++i) {
    if (rows_[i].entries.size() > rows_[i].settled) prune(rows_[i]);
  }
}

// Cells that reach furthest towards the sources first: the sooner thresholds rise, the more is
// skipped.
std::vector<std::pair<double, size_t>> Scan::cells_by_reach() const {
  std::vector<std::pair<double, size_t>> order;
  for (size_t c = 0; c < codes_->cells().size(); ++c) {
    const Cell& cell = codes_->cells()[c];
    double radius = -kInfinity;
    for (int32_t b = cell.first_band; b < cell.end_band; ++b) {
      const Band& band = codes_->bands()[b];
      if (band.live > 0) radius = std::max(radius, band.radius - band.floor);
    }
    if (radius == -kInfinity) continue;
    double base = -kInfinity;
    for (size_t i = 0; i < count_; ++i) base = std::max(base, rows_[i].source->base[c]);
    order.emplace_back(-(base + radius), c);
  }
  std::sort(order.begin(), order.end());
  return order;
}

double Scan::base(const Row& row, size_t b) const {
  const Band& band = codes_->bands()[b];
  return row.source->base[cell_of_band_[b]] - band.floor -
         unit(row, band) * static_cast<double>(codes_->price_shift());
}

// The least sum whose upper bound reaches the row's threshold; INT32_MAX if nothing in the band
// can, by Cauchy-Schwarz.
int32_t Scan::least_sum(const Row& row, size_t b) const {
  const Band& band = codes_->bands()[b];
  const double most = row.source->base[cell_of_band_[b]] - band.floor + band.radius;
  if (most + slack_ + 0x1p-50 * band.floor < row.threshold) return INT32_MAX;
  const double least =
      std::ceil((row.threshold - error(row, band) - base(row, b)) / unit(row, band));
  if (!(least > -2147483647.0)) return INT32_MIN + 1;
  return least >= 2147483647.0 ? INT32_MAX : static_cast<int32_t>(least);
}

void Scan::scan_band(size_t b, int64_t part, int64_t parts) {
  const Band& band = codes_->bands()[b];
  const int64_t begin = band.first_panel + band.panels() * part / parts;
  const int64_t end = band.first_panel + band.panels() * (part + 1) / parts;
  if (begin == end) return;
  open_.clear();
  for (size_t i = 0; i < count_; ++i) {
    least_sums_[i] = least_sum(rows_[i], b);
    if (least_sums_[i] < INT32_MAX) open_.push_back(static_cast<int32_t>(i));
  }
  if (open_.empty()) return;
  // Tiles of sources that can reach the band: of a tile as it comes nearly always some can.
  std::vector<Line>* codes = &sources_;
  if (open_.size() < count_) {
    codes = &packed_;
    for (size_t k = 0; k < open_.size(); ++k) {
      std::memcpy(code(packed_, k), code(sources_, open_[k]), source_bytes_);
    }
  }
  const int64_t panel_bytes = int64_t{4} * kPanelLatents * codes_->steps();
  const int64_t chunk = std::max<int64_t>(1, kPanelBytesPerChunk / panel_bytes);
  for (int64_t from = begin; from < end; from += chunk) {
    for (size_t first = 0; first < open_.size(); first += tile_sources_) {
      tile_.sources = code(*codes, first);
      scan_tile(first, b, from, std::min(end, from + chunk));
    }
  }
}

// Scans for open_[first] and those behind it.
void Scan::scan_tile(size_t first, size_t b, int64_t begin, int64_t end) {
  const size_t count = std::min(tile_sources_, open_.size() - first);
  for (size_t r = 0; r < tile_sources_; ++r) {
    tile_.start[r] = r < count ? rows_[open_[first + r]].source->code.start : 0;
    // Nothing reaches an empty place in the last tile.
    tile_.threshold[r] = r < count ? least_sums_[open_[first + r]] : INT32_MAX;
  }
  tile_.panel_end = end;
  while (begin < end) {
    std::fill_n(tile_.hits, tile_sources_, 0);
    tile_.panel_begin = begin;
    begin = kernel_->scan(&tile_);
    for (size_t r = 0; r < count; ++r) {
      if (tile_.hits[r] == 0) continue;
      const int32_t i = open_[first + r];
      Row& row = rows_[i];
      take_hits(row, b, tile_.hit_sums[r], tile_.hit_positions[r], tile_.hits[r]);
      if (row.entries.size() <= row.room) continue;
      prune(row);
      least_sums_[i] = tile_.threshold[r] = least_sum(row, b);
    }
  }
}

void Scan::take_hits(Row& row, size_t b, const int32_t* sums, const int32_t* positions,
                     int32_t hits) {
  const Band& band = codes_->bands()[b];
  const double most = base(row, b) + error(row, band);
  const double step = unit(row, band);
  const int64_t end = band.first_panel * kPanelLatents + band.live;
  for (int32_t h = 0; h < hits; ++h) {
    if (positions[h] >= end) continue;  // a lane behind the last latent
    row.entries.push_back({most + step * sums[h], positions[h], static_cast<int32_t>(b)});
  }
}

double Scan::nth_largest(size_t n) {
  const auto at = scratch_.begin() + (n - 1);
  std::nth_element(scratch_.begin(), at, scratch_.end(), std::greater<>());
  return *at;
}

// A value that n of scratch_ reach and hardly more.
double Scan::reached_by(size_t n) {
  if (scratch_.size() <= kFewValues) return nth_largest(n);
  // Counted in buckets: selecting the very value takes several times as long.
  double low = scratch_[0], high = scratch_[0];
  for (const double v : scratch_) {
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  const double width = (high - low) / kBuckets;
  if (!(width > 0.0)) return low;
  const double scale = 1.0 / width;
  if (!(scale < kInfinity)) return low;
  uint32_t counts[kBuckets + 2] = {};
  for (const double v : scratch_) ++counts[static_cast<size_t>((v - low) * scale)];
  size_t bucket = kBuckets + 2, above = 0;
  while (above < n) above += counts[--bucket];
  return low + static_cast<double>(bucket) * width;
}

void Scan::keep_above(Row& row) {
  const double threshold = row.threshold;
  std::erase_if(row.entries, [threshold](const Entry& e) { return e.upper < threshold; });
}

// Raises the pruning threshold to the depth-th largest lower bound, and drops entries below.
void Scan::prune(Row& row) {
  const size_t depth = settings_.depth;
  if (row.entries.size() >= depth) {
    scratch_.clear();
    int32_t b = -1;
    double discount = 0.0;
    for (const Entry& e : row.entries) {
      if (e.band != b) {
        b = e.band;
        discount = (1.0 + settings_.caution) * error(row, codes_->bands()[b]);
      }
      scratch_.push_back(e.upper - discount);
    }
    const double reached = reached_by(depth);
    if (reached > row.threshold) {
      row.threshold = reached;
      keep_above(row);
    }
  }
  row.settled = row.entries.size();
  if (row.entries.size() <= row.room / 2) return;
  if (row.room < std::max(kLargestRoom, 8 * depth)) {
    row.room *= 2;
    return;
  }
  // Too many latents that these codes cannot tell apart: keep a quarter and admit the loss in the
  // threshold.
  scratch_.clear();
  for (const Entry& e : row.entries) scratch_.push_back(e.upper);
  row.truncated = true;
  row.threshold = std::max(row.threshold, std::nextafter(nth_largest(row.room / 4), kInfinity));
  keep_above(row);
  row.settled = row.entries.size();
}

Scanned Scan::deliver(size_t i, CandidateList& list) const {
  const Row& row = rows_[i];
  const double norm = row.source->norm;
  Scanned scanned{row.threshold, 0, row.truncated};
  double top = -kInfinity;  // the best latent's score is about this
  for (const Entry& e : row.entries) {
    const double within = error(row, codes_->bands()[e.band]);
    list.items.push_back({.id = codes_->id_at(e.position),
                          .upper = e.upper * norm,
                          .lower = (e.upper - 2.0 * within - kThresholdSlack) * norm});
    top = std::max(top, e.upper - within);
  }
  for (const Entry& e : row.entries) scanned.close += e.upper >= top;
  list.outside = std::max(list.outside, (row.threshold + kThresholdSlack) * norm);
  return scanned;
}

}  // namespace gtn
