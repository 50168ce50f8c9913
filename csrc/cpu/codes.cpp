// Implements codes.hpp.
#include "cpu/codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <numeric>

#include "cpu/cells.hpp"

namespace gtn {
namespace {

// Rounds to the nearest integer for |v| < 2^51: the sum drops the fraction. Vectorises on any
// baseline, which nearbyint does not.
inline double nearest(double v) {
  constexpr double kMagic = 0x1.8p52;
  return (v + kMagic) - kMagic;
}

// Inflates a computed norm or bound past its own rounding.
inline double round_up(double v, int64_t dim) {
  return v * (1.0 + 2.0 * rounding_slack(dim));
}

double norm_of(const double* v, int64_t dim) {
  return std::sqrt(product(v, v, dim));
}

double largest_abs(const double* v, int64_t dim) {
  double top = 0.0;
  for (int64_t k = 0; k < dim; ++k) top = std::max(top, std::fabs(v[k]));
  return top;
}

// The largest code norm of either side: products of two such norms, and so by Cauchy-Schwarz all
// dot products, stay below 2^31. Rounding adds at most half a step a dimension.
double largest_code_norm(int64_t dim) {
  return std::max(1.0, 46340.0 - 0.5 * std::sqrt(static_cast<double>(dim)) - 2.0);
}

double step_for(double largest, double norm, double code_limit, int64_t dim) {
  const double step = std::max(largest / code_limit, norm / largest_code_norm(dim));
  // Codes are computed with the inverse; a step this small would overflow it. Such a cell is one
  // point.
  return std::max(step, 1e-290);
}

// Writes the codes of v and returns |v - step * code|.
template <class Store>
double quantise(const double* v, int64_t dim, double step, double* codes, Store store) {
  const double inverse = 1.0 / step;
  double s[4] = {};
  int64_t k = 0;
  for (; k + 4 <= dim; k += 4) {
    for (int j = 0; j < 4; ++j) {
      codes[k + j] = nearest(v[k + j] * inverse);
      const double r = v[k + j] - codes[k + j] * step;
      s[j] += r * r;
    }
  }
  for (; k < dim; ++k) {
    codes[k] = nearest(v[k] * inverse);
    const double r = v[k] - codes[k] * step;
    s[0] += r * r;
  }
  for (k = 0; k < dim; ++k) store(k, static_cast<int32_t>(codes[k]));
  return std::sqrt((s[0] + s[1]) + (s[2] + s[3]));
}

}  // namespace

void LatentCodes::FreeDeleter::operator()(std::byte* p) const {
  std::free(p);
}

int64_t LatentCodes::bytes_for(int64_t n, int64_t dim, Arithmetic arithmetic) {
  const int64_t panels = (n + kPanelLatents - 1) / kPanelLatents;
  return panels * kPanelLatents * (4 * steps_for(dim, arithmetic) + 4) + 4 * n;
}

int64_t LatentCodes::bytes() const {
  return panel_count_ * kPanelLatents * (4 * steps_ + 4) +
         static_cast<int64_t>(position_of_.size()) * 4;
}

LatentCodes::LatentCodes(const Scorer& scorer, const FreeLatents& free, Arithmetic arithmetic,
                         Parallel& parallel)
    : scorer_(scorer),
      distinct_(free.distinct()),
      arithmetic_(arithmetic),
      dim_(scorer.latents().dim),
      steps_(steps_for(dim_, arithmetic)) {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(free.ids()));
  for (int32_t id = 0; id < distinct_.count(); ++id) {
    if (free.is_free(id)) ids.push_back(id);
  }
  // Spread over the panels, so that every stretch of panels is a fair sample and thresholds settle
  // early whatever the order of the ids means.
  const int64_t n = static_cast<int64_t>(ids.size());
  int64_t stride = static_cast<int64_t>(static_cast<double>(n) * 0.6180339887498949) | 1;
  while (std::gcd(stride, n) != 1) stride += 2;
  std::vector<int32_t> spread(ids.size());
  for (int64_t i = 0, at = 0; i < n; ++i, at = (at + stride) % n) {
    spread[static_cast<size_t>(i)] = ids[static_cast<size_t>(at)];
  }

  const auto members = choose_cells(scorer, distinct_, std::move(spread), parallel);
  cells_.resize(members.size());
  for (size_t c = 0; c < members.size(); ++c) {
    cells_[c].first_panel = panel_count_;
    panel_count_ += (static_cast<int64_t>(members[c].size()) + kPanelLatents - 1) / kPanelLatents;
    cell_of_panel_.resize(static_cast<size_t>(panel_count_), static_cast<int32_t>(c));
  }
  // Kernels may read a little past the last panel (kernels.hpp).
  const size_t bytes =
      (static_cast<size_t>(panel_count_) * static_cast<size_t>(steps_) + kMostStepMultiple) *
      kPanelLatents * 4;
  panels_.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  if (!panels_) throw std::bad_alloc();
  std::memset(panels_.get() + bytes - kMostStepMultiple * kPanelLatents * 4, 0,
              kMostStepMultiple * kPanelLatents * 4);
  id_at_.assign(static_cast<size_t>(panel_count_) * kPanelLatents, -1);
  position_of_.assign(static_cast<size_t>(distinct_.count()), -1);
  for (size_t c = 0; c < members.size(); ++c) {
    make_cell(members[c], cells_[c], parallel);
    encode_cell(members[c], cells_[c], parallel);
  }
}

int64_t LatentCodes::live() const {
  int64_t n = 0;
  for (const Cell& c : cells_) n += c.live;
  return n;
}

void LatentCodes::unit_row(int32_t id, const double* centre, double* out) const {
  widen_row(scorer_.latents(), distinct_.row(id), out);
  const double norm = distinct_.norm(id);
  for (int64_t k = 0; k < dim_; ++k) out[k] = out[k] / norm - centre[k];
}

// Centre, radius and step of a cell.
void LatentCodes::make_cell(const std::vector<int32_t>& ids, Cell& cell, Parallel& parallel) {
  const size_t dim = static_cast<size_t>(dim_);
  const int64_t n = static_cast<int64_t>(ids.size());
  cell.live = n;
  cell.centre.assign(dim, 0.0);
  std::mutex mutex;
  std::vector<double> sum(dim, 0.0);
  // The centre need not be the exact mean: any fixed vector gives valid bounds. A sample is enough.
  const int64_t sample = std::min<int64_t>(n, 8192);
  parallel.run(sample, 512, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim), part(dim, 0.0);
    for (int64_t i = begin; i < end; ++i) {
      unit_row(ids[static_cast<size_t>(i)], cell.centre.data(), v.data());
      for (size_t k = 0; k < dim; ++k) part[k] += v[k];
    }
    std::lock_guard lock(mutex);
    for (size_t k = 0; k < dim; ++k) sum[k] += part[k];
  });
  for (size_t k = 0; k < dim; ++k) cell.centre[k] = sum[k] / static_cast<double>(sample);

  double largest = 0.0;
  parallel.run(n, 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(dim);
    double top = 0.0, radius = 0.0;
    for (int64_t i = begin; i < end; ++i) {
      unit_row(ids[static_cast<size_t>(i)], cell.centre.data(), v.data());
      top = std::max(top, largest_abs(v.data(), dim_));
      radius = std::max(radius, norm_of(v.data(), dim_));
    }
    std::lock_guard lock(mutex);
    largest = std::max(largest, top);
    cell.radius = std::max(cell.radius, radius);
  });
  cell.step =
      step_for(largest, cell.radius, arithmetic_ == Arithmetic::int8 ? 127.0 : 32767.0, dim_);
  cell.radius = round_up(cell.radius, dim_);
}

void LatentCodes::encode_cell(const std::vector<int32_t>& ids, Cell& cell, Parallel& parallel) {
  const int64_t n = cell.live;
  const int64_t panel_bytes = int64_t{4} * kPanelLatents * steps_;
  const int64_t panels = (n + kPanelLatents - 1) / kPanelLatents;
  std::mutex mutex;
  parallel.run(panels, 8, [&](int64_t begin, int64_t end, int) {
    std::vector<double> v(static_cast<size_t>(dim_)), codes(v.size());
    double residual = 0.0;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t panel = cell.first_panel + p;
      std::byte* out = panels_.get() + panel * panel_bytes;
      std::memset(out, arithmetic_ == Arithmetic::int8 ? 128 : 0, static_cast<size_t>(panel_bytes));
      for (int64_t lane = 0; lane < kPanelLatents && p * kPanelLatents + lane < n; ++lane) {
        const int32_t id = ids[static_cast<size_t>(p * kPanelLatents + lane)];
        const int64_t position = panel * kPanelLatents + lane;
        id_at_[static_cast<size_t>(position)] = id;
        position_of_[static_cast<size_t>(id)] = static_cast<int32_t>(position);
        unit_row(id, cell.centre.data(), v.data());
        std::byte* at = out + lane * 4;
        const double r =
            arithmetic_ == Arithmetic::int8
                ? quantise(v.data(), dim_, cell.step, codes.data(),
                           [&](int64_t k, int32_t code) {
                             at[k / 4 * 256 + k % 4] = static_cast<std::byte>(code + 128);
                           })
                : quantise(v.data(), dim_, cell.step, codes.data(), [&](int64_t k, int32_t code) {
                    const int16_t value = static_cast<int16_t>(code);
                    std::memcpy(at + k / 2 * 256 + k % 2 * 2, &value, 2);
                  });
        residual = std::max(residual, r);
      }
    }
    std::lock_guard lock(mutex);
    cell.residual = std::max(cell.residual, residual);
  });
  // The differences themselves are rounded: relative to the coordinates, not to the residual.
  cell.residual = round_up(cell.residual, dim_) + cell.radius * rounding_slack(dim_);
}

void LatentCodes::remove(int32_t id) {
  const int32_t hole = position_of_[static_cast<size_t>(id)];
  if (hole < 0) return;
  Cell& cell = cells_[cell_of(hole)];
  const int64_t last = cell.first_panel * kPanelLatents + --cell.live;
  const int64_t panel_bytes = int64_t{4} * kPanelLatents * steps_;
  const auto lane = [&](int64_t position) {
    return panels_.get() + position / kPanelLatents * panel_bytes + position % kPanelLatents * 4;
  };
  std::byte* to = lane(hole);
  const std::byte* from = lane(last);
  for (int32_t s = 0; s < steps_; ++s) std::memcpy(to + s * 256, from + s * 256, 4);
  const int32_t moved = id_at_[static_cast<size_t>(last)];
  id_at_[static_cast<size_t>(hole)] = moved;
  position_of_[static_cast<size_t>(moved)] = hole;
  id_at_[static_cast<size_t>(last)] = -1;
  position_of_[static_cast<size_t>(id)] = -1;
}

void unit_source(const Rows& sources, int32_t row, double norm, double* unit) {
  widen_row(sources, row, unit);
  for (int64_t k = 0; k < sources.dim; ++k) unit[k] /= norm;
}

double product(const double* a, const double* b, int64_t dim) {
  double s[4] = {};
  int64_t k = 0;
  for (; k + 4 <= dim; k += 4) {
    for (int j = 0; j < 4; ++j) s[j] += a[k + j] * b[k + j];
  }
  for (; k < dim; ++k) s[0] += a[k] * b[k];
  return (s[0] + s[1]) + (s[2] + s[3]);
}

SourceCode encode_source(const double* unit, int64_t dim, Arithmetic arithmetic, int32_t limit,
                         void* out) {
  std::vector<double> codes(static_cast<size_t>(dim));
  std::memset(out, 0, static_cast<size_t>(steps_for(dim, arithmetic)) * 4);
  SourceCode code;
  int64_t sum = 0;
  const bool narrow = arithmetic == Arithmetic::int8;
  code.step = step_for(largest_abs(unit, dim), 1.0, narrow ? limit : 32767.0, dim);
  const double r = quantise(unit, dim, code.step, codes.data(), [&](int64_t k, int32_t c) {
    sum += c;
    if (narrow) {
      static_cast<int8_t*>(out)[k] = static_cast<int8_t>(c);
    } else {
      static_cast<int16_t*>(out)[k] = static_cast<int16_t>(c);
    }
  });
  // int8 latents carry 128 in every code. The sums are taken modulo 2^32, so wrapping is harmless.
  if (narrow) code.start = static_cast<int32_t>(static_cast<uint32_t>(-128 * sum));
  code.coded_norm = round_up(code.step * norm_of(codes.data(), dim), dim);
  code.residual = round_up(r, dim) + rounding_slack(dim);
  return code;
}

}  // namespace gtn
