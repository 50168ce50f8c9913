// Bounds of the cuda backend, in the emulator: no true cosine and no score of the contract is above
// its group's bound, whatever the latents, also after some are taken and the rest is laid out anew;
// every free latent is in one group; what is taken leaves the codes; cells are the same in any
// order of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "core/norms.hpp"
#include "cuda/caps.hpp"
#include "cuda/cells.hpp"
#include "cuda/codes.hpp"
#include "cuda/scan_kernels.hpp"
#include "cuda_job.hpp"
#include "device_problem.hpp"

using emulation::Array;
using emulation::DeviceProblem;
using emulation::make;
using emulation::Setting;
using emulation::Shape;
using gtn::cuda::Bounds;
using reference::Data;

namespace {

long double exact(const Data& d, const std::vector<double>& mean, int64_t row, int64_t k) {
  // The contract rounds what centring leaves; a row is what comes of that.
  return mean.empty() ? d.at(row, k) : d.at(row, k) - mean[static_cast<size_t>(k)];
}

struct Case {
  Data x, y;
  std::vector<double> mean = {};  // of the latents, if they are centred
  std::string what = "";
};

class Checked {
 public:
  Checked(const Case& c, bool mapped = false)
      : c_(c), p_(c.x, c.y, c.mean), rows_(p_.rows_by_rank()), sources_(p_.sources_in_order()) {
    const auto latents = static_cast<int32_t>(c.x.n);
    const auto window = static_cast<int32_t>(c.y.n);
    if (c.x.dim <= gtn::cuda::kCapDims) {
      bounds_ = std::make_unique<gtn::cuda::CapBounds>(p_.budget, p_.problem, latents, nullptr);
    } else {
      bounds_ = std::make_unique<gtn::cuda::CodeBounds>(p_.budget, p_.problem, latents, window,
                                                        gtn::cuda::scan_dp4a, 3, mapped,
                                                        p_.parallel, nullptr);
    }
    free_.resize(static_cast<size_t>(latents));
    std::iota(free_.begin(), free_.end(), 0);
    norms_ = p_.latents.norms().get();
    source_norms_ = p_.sources.norms().get();
    for (int64_t i = 0; i < c.x.n; ++i) lengths_.push_back(length(c.x, c.mean, i));
    for (int64_t j = 0; j < c.y.n; ++j) source_lengths_.push_back(length(c.y, {}, j));
  }

  void lay_out() {
    p_.give_to_sorter(free_);
    bounds_->lay_out(static_cast<int32_t>(free_.size()), p_.sorter);
    laid_out_ = free_;
  }

  // Takes every `stride`-th free latent.
  void take(size_t stride) {
    std::vector<int32_t> taken, left;
    for (size_t i = 0; i < free_.size(); ++i) (i % stride ? left : taken).push_back(free_[i]);
    free_ = left;
    taken.push_back(-1);  // none
    const Array<int32_t> there(taken);
    bounds_->remove(there.data(), static_cast<int32_t>(taken.size()));
  }

  void check() {
    const gtn::cuda::Groups groups = bounds_->groups();
    const auto count = static_cast<size_t>(groups.count);
    const auto members = static_cast<size_t>(groups.members);
    const auto ranks = fetch(groups.ranks, count * members);
    const auto lowest = fetch(groups.low_rank, count);
    const auto window = static_cast<int32_t>(c_.y.n);
    const Array<float> upper_there(std::vector<float>(count * c_.y.n, -99.0f));
    const Array<int32_t> others_there(std::vector<int32_t>(count * c_.y.n, -1));
    bounds_->write_upper({p_.order(), window}, {upper_there.data(), others_there.data()});
    const std::vector<float> upper = upper_there.get();

    std::vector<int32_t> found;
    int64_t too_low = 0, wrong_lowest = 0, open_empty = 0;
    const bool caps = c_.x.dim <= gtn::cuda::kCapDims;
    for (size_t g = 0; g < count; ++g) {
      int32_t low = INT32_MAX;
      bool empty = true;
      for (size_t i = 0; i < members; ++i) {
        const int32_t rank = ranks[g * members + i];
        if (rank < 0) continue;
        found.push_back(rank);
        low = std::min(low, rank);
        if (!std::binary_search(free_.begin(), free_.end(), rank)) continue;
        empty = false;
        for (int32_t j = 0; j < window; ++j) {
          too_low += beats(rank, j, upper[static_cast<size_t>(j) * count + g]);
        }
      }
      wrong_lowest += lowest[g] != low;
      // Where all members of a cap are taken, or there never was one.
      if (!(caps ? empty : low == INT32_MAX)) continue;
      for (int32_t j = 0; j < window; ++j) {
        open_empty += upper[static_cast<size_t>(j) * count + g] > -2.0f;
      }
    }
    CHECK_MESSAGE(too_low == 0, c_.what);
    CHECK_MESSAGE(wrong_lowest == 0, c_.what);
    CHECK_MESSAGE(open_empty == 0, c_.what);
    std::sort(found.begin(), found.end());
    CHECK_MESSAGE(found == laid_out_, c_.what);
    check_codes(groups, ranks);
  }

  // The first sources are the axes, in order of their norms.
  void check_terms() {
    const gtn::cuda::Groups groups = bounds_->groups();
    const auto dim = static_cast<size_t>(c_.x.dim), window = static_cast<size_t>(c_.y.n);
    const auto count = static_cast<size_t>(groups.count);
    const auto members = static_cast<size_t>(groups.members);
    const Array<float> upper(count * window);
    bounds_->write_upper({p_.order(), static_cast<int32_t>(window)}, {upper.data(), nullptr});
    const std::vector<float> bounds = upper.get();
    const gtn::cuda::CodeView v = bounds_->codes();
    const auto stride = static_cast<size_t>(v.stride);
    const auto ranks = fetch(groups.ranks, count * members);
    const auto codes = fetch(v.latent_codes, count * members * stride);
    const auto terms = fetch(v.groups, count);
    const auto sources = fetch(v.sources, window);
    const auto source_codes = fetch(v.source_codes, window * stride);
    size_t cells = 1;
    for (const auto& g : terms) cells = std::max(cells, static_cast<size_t>(g.cell) + 1);
    const auto base = fetch(v.base, cells * static_cast<size_t>(v.source_rows));
    const auto centre = [&](size_t cell, size_t k) {
      return static_cast<double>(base[cell * static_cast<size_t>(v.source_rows) + k]);
    };
    // A base is a float32 rounded up: what is compared with a centre is known to about 1e-7.
    constexpr double kKnown = 1e-6;
    int64_t wrong = 0;
    const auto short_step = [](float step) {
      return step == std::ldexp(std::nearbyint(std::ldexp(step, 12 - std::ilogb(step))),
                                std::ilogb(step) - 12);
    };
    for (size_t g = 0; g < count; ++g) {
      const double step = terms[g].step;
      wrong += !short_step(terms[g].step) || !(terms[g].step >= 0x1p-60f);
      for (size_t i = 0; i < members; ++i) {
        const int32_t rank = ranks[g * members + i];
        if (rank < 0) continue;
        const int64_t row = rows_[static_cast<size_t>(rank)];
        const auto slot =
            static_cast<size_t>(v.slots.slot_of(static_cast<int64_t>(g), static_cast<int32_t>(i)));
        double residual = 0, radius = 0;
        for (size_t k = 0; k < dim; ++k) {
          const double value = c_.x.at(row, static_cast<int64_t>(k)) /
                                   static_cast<double>(lengths_[static_cast<size_t>(row)]) -
                               centre(static_cast<size_t>(terms[g].cell), k);
          const int code = codes[slot * stride + k];
          wrong += code < -127;
          residual += (value - step * code) * (value - step * code);
          radius += value * value;
        }
        wrong += std::sqrt(residual) > terms[g].residual + kKnown;
        wrong += std::sqrt(radius) > terms[g].radius + kKnown;
      }
    }
    for (size_t s = 0; s < window; ++s) {
      const int64_t row = sources_[s];
      double residual = 0, coded = 0;
      wrong += !short_step(sources[s].step);
      for (size_t k = 0; k < dim; ++k) {
        const double value = c_.y.at(row, static_cast<int64_t>(k)) /
                             static_cast<double>(source_lengths_[static_cast<size_t>(row)]);
        const double part = static_cast<double>(sources[s].step) * source_codes[s * stride + k];
        residual += (value - part) * (value - part);
        coded += part * part;
      }
      wrong += std::sqrt(residual) > sources[s].residual;
      wrong += std::sqrt(coded) > sources[s].coded_norm;
      for (size_t g = 0; g < count; ++g) {
        if (ranks[g * members] < 0) continue;
        int32_t largest = INT32_MIN;
        for (size_t i = 0; i < members; ++i) {
          const auto slot = static_cast<size_t>(
              v.slots.slot_of(static_cast<int64_t>(g), static_cast<int32_t>(i)));
          int32_t sum = 0;
          for (size_t k = 0; k < stride; ++k) {
            sum += codes[slot * stride + k] * source_codes[s * stride + k];
          }
          largest = std::max(largest, sum);
        }
        const auto cell = static_cast<size_t>(terms[g].cell) * static_cast<size_t>(v.source_rows);
        const long double whole =
            base[cell + s] + static_cast<long double>(sources[s].step) * terms[g].step * largest +
            static_cast<long double>(sources[s].coded_norm) * terms[g].residual +
            static_cast<long double>(sources[s].residual) * terms[g].radius;
        wrong += bounds[s * count + g] < whole || bounds[s * count + g] > whole + 2e-6L;
      }
      for (size_t cell = 0; cell < cells; ++cell) {
        double product = 0;
        for (size_t k = 0; k < dim; ++k) {
          product += c_.y.at(row, static_cast<int64_t>(k)) /
                     static_cast<double>(source_lengths_[static_cast<size_t>(row)]) *
                     centre(cell, k);
        }
        wrong += product > base[cell * static_cast<size_t>(v.source_rows) + s] + kKnown;
      }
    }
    CHECK_MESSAGE(wrong == 0, c_.what);
  }

 private:
  template <class T>
  static std::vector<T> fetch(const T* there, size_t count) {
    std::vector<T> here(count);
    REQUIRE(cudaMemcpy(here.data(), there, count * sizeof(T), cudaMemcpyDefault) == cudaSuccess);
    return here;
  }
  static long double length(const Data& d, const std::vector<double>& mean, int64_t row) {
    long double squared = 0;
    for (int64_t k = 0; k < d.dim; ++k) {
      squared += exact(d, mean, row, k) * exact(d, mean, row, k);
    }
    return std::sqrt(squared);
  }

  // Whether a latent's cosine, or its score, is above this bound of its group.
  bool beats(int32_t rank, int32_t position, float upper) const {
    const int64_t x = rows_[static_cast<size_t>(rank)];
    const int64_t y = sources_[static_cast<size_t>(position)];
    long double product = 0;
    double sums[8] = {};
    for (int64_t k = 0; k < c_.x.dim; ++k) {
      const long double a = exact(c_.x, c_.mean, x, k), b = c_.y.at(y, k);
      product += a * b;
      const double rounded = static_cast<double>(a) * static_cast<double>(b);
      sums[k % 8] += rounded;
    }
    const double dot =
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    const double score = dot / norms_[static_cast<size_t>(x)];
    const long double true_score = product / lengths_[static_cast<size_t>(x)];
    return static_cast<double>(upper) * source_norms_[static_cast<size_t>(y)] < score ||
           upper * source_lengths_[static_cast<size_t>(y)] < true_score;
  }

  // Codes are those of free latents only, and their bounds hold for each alone.
  void check_codes(const gtn::cuda::Groups& groups, const std::vector<int32_t>& ranks) {
    const gtn::cuda::CodeView v = bounds_->codes();
    if (!v.latent_codes) return;
    const auto stride = static_cast<size_t>(v.stride);
    const auto codes = fetch(v.latent_codes, static_cast<size_t>(groups.count) *
                                                 static_cast<size_t>(groups.members) * stride);
    int64_t wrong = 0;
    for (int32_t g = 0; g < groups.count; ++g) {
      for (int32_t i = 0; i < groups.members; ++i) {
        const int32_t rank = ranks[static_cast<size_t>(g * groups.members + i)];
        const bool live = rank >= 0 && std::binary_search(free_.begin(), free_.end(), rank);
        const auto at = codes.begin() + static_cast<std::ptrdiff_t>(
                                            static_cast<size_t>(v.slots.slot_of(g, i)) * stride);
        const bool zero = std::all_of(at, at + v.stride, [](int8_t code) { return code == 0; });
        wrong += !live && !zero;
        wrong += !std::all_of(at + c_.x.dim, at + v.stride, [](int8_t code) { return code == 0; });
      }
    }
    CHECK_MESSAGE(wrong == 0, c_.what);
  }

  const Case& c_;
  DeviceProblem p_;
  std::vector<int32_t> rows_, sources_;
  std::vector<double> norms_, source_norms_;
  std::vector<long double> lengths_, source_lengths_;
  std::unique_ptr<Bounds> bounds_;
  std::vector<int32_t> free_, laid_out_;
};

void check_all(const Case& c, bool mapped = false) {
  Checked checked(c, mapped);
  checked.lay_out();
  checked.check();
  checked.take(3);
  checked.check();
  checked.lay_out();
  checked.take(2);
  checked.check();
  checked.take(1);  // all that is left
  checked.check();
}

}  // namespace

TEST_CASE("no latent is above its group's bound") {
  int turn = 0;
  for (const int64_t dim : {1, 2, 3, 8, 9, 33, 100}) {
    for (const Shape shape : emulation::kShapes) {
      const bool f64 = ++turn % 2;
      Case c{make(shape, 140, dim, f64, 11), make(Shape::gaussian, 6, dim, f64, 12)};
      c.what = std::string(name_of(shape)) + " in " + std::to_string(dim);
      // Sources that point where latents are.
      const auto same = static_cast<std::ptrdiff_t>(4 * dim);
      if (f64) {
        std::copy_n(c.x.f64.begin(), same, c.y.f64.begin());
      } else {
        std::copy_n(c.x.f32.begin(), same, c.y.f32.begin());
      }
      check_all(c, f64);
    }
  }
}

TEST_CASE("a bound has room for what rounding adds to a score") {
  // Parallel rows: their scores are a norm, or by rounding a little more or less.
  std::mt19937_64 random(19);
  for (const int64_t dim : {1, 2, 3, 5, 8, 9, 13, 24}) {
    for (int i = 0; i < 6; ++i) {
      Case c{make(Shape::gaussian, 1, dim, true, random()),
             make(Shape::gaussian, 20, dim, true, 1)};
      for (size_t j = 0; j < c.y.f64.size(); ++j) {
        c.y.f64[j] = c.x.f64[j % static_cast<size_t>(dim)] *
                     std::ldexp(1.0 + 1e-3 * static_cast<double>(random() % 999), -5);
        if (i % 2 == 1) c.y.f64[j] = -c.y.f64[j];
      }
      c.what = "parallel in " + std::to_string(dim);
      Checked checked(c);
      checked.lay_out();
      checked.check();
    }
  }
}

TEST_CASE("no centred latent is above its group's bound") {
  gtn::Parallel parallel(1);
  for (const int64_t dim : {2, 9, 40}) {
    for (const Shape shape : {Shape::off_centre, Shape::clusters, Shape::integers}) {
      Case c{make(shape, 130, dim, false, 13), make(Shape::gaussian, 9, dim, true, 14)};
      c.mean = gtn::column_mean(c.x.rows("latents"), parallel);
      c.what = std::string("centred ") + name_of(shape);
      check_all(c);
    }
  }
}

TEST_CASE("every term of a code's bound is one") {
  for (const int64_t dim : {9, 20}) {
    for (const Shape shape : emulation::kShapes) {
      // The axes first: their products with a centre are the centre.
      Case c{make(shape, 300, dim, false, 17), make(Shape::gaussian, dim + 9, dim, false, 18)};
      for (int64_t i = 0; i < dim * dim; ++i) {
        c.y.f32[static_cast<size_t>(i)] =
            i % (dim + 1) == 0 ? 1e-6f * static_cast<float>(i + 1) : 0;
      }
      c.what = name_of(shape);
      Checked checked(c);
      checked.lay_out();
      checked.check_terms();
    }
  }
  Case c{make(Shape::clusters, 2100, 9, false, 15), make(Shape::gaussian, 18, 9, false, 16)};
  for (int64_t i = 0; i < 81; ++i) {
    c.y.f32[static_cast<size_t>(i)] = i % 10 == 0 ? 1e-6f * static_cast<float>(i + 1) : 0;
  }
  c.what = "cells";
  Checked checked(c);
  checked.lay_out();
  checked.check_terms();
}

TEST_CASE("cells: bounds hold in each, and threads in any order find the same") {
  const Case c{make(Shape::clusters, 2100, 12, false, 15),
               make(Shape::gaussian, 5, 12, false, 16),
               {},
               "cells"};
  std::vector<uint8_t> first;
  for (const char* seed : {"1", "2", "3"}) {
    const Setting order("GTN_EMULATOR_SEED", seed);
    DeviceProblem p(c.x, c.y);
    gtn::cuda::Cells cells(p.budget, 2100);
    cells.find(p.budget, p.problem, p.parallel, nullptr);
    REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess);
    CHECK(cells.count() > 5);
    std::vector<uint8_t> found(2100);
    REQUIRE(cudaMemcpy(found.data(), cells.of_rank(), 2100, cudaMemcpyDeviceToHost) == cudaSuccess);
    if (first.empty()) first = found;
    CHECK(found == first);
    CHECK(*std::max_element(found.begin(), found.end()) == cells.count() - 1);  // strays
  }
  check_all(c);
}

TEST_CASE("slots: each group's members have slots of their own") {
  for (const int32_t tiles : {2, 3, 8}) {
    const gtn::cuda::Slots slots{tiles};
    std::vector<int> seen(static_cast<size_t>(3 * slots.superpanel_slots()), 0);
    for (int64_t group = 0; group < 3 * gtn::cuda::kTileGroups; ++group) {
      for (int32_t member = 0; member < slots.group_members(); ++member) {
        const int64_t slot = slots.slot_of(group, member);
        ++seen[static_cast<size_t>(slot)];
        CHECK(slots.group_of(slot) == group);
        CHECK(slots.member_of(slot) == member);
      }
    }
    CHECK(seen == std::vector<int>(seen.size(), 1));
  }
}
