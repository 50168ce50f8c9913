// The contract's arithmetic on the device, in the emulator, against the host's, bit for bit: dot
// products, norms, the column mean, orders; and that undefined rows are noticed.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/norms.hpp"
#include "core/order.hpp"
#include "cuda_job.hpp"
#include "device_problem.hpp"

using emulation::Array;
using emulation::DeviceRows;
using emulation::make;
using emulation::Shape;
using gtn::cuda::RowsView;
using gtn::cuda::RowView;
using reference::Data;

namespace {

// Row i of a with row i of b, in both ways there are on the device.
__global__ void dots_kernel(RowsView a, RowsView b, int64_t count, double* by_lanes,
                            double* alone) {
  const int64_t i = threadIdx.x / gtn::cuda::kDotLanes;
  const int64_t row = i < count ? i : 0;
  const double together = gtn::cuda::dot_by_lanes(a, row, b, row);
  if (i >= count) return;
  by_lanes[threadIdx.x] = together;
  if (threadIdx.x % gtn::cuda::kDotLanes == 0) {
    alone[i] = gtn::dot(RowView{a, row}, RowView{b, row}, a.dim);
  }
}

Data with(Data d, int64_t at, double value) {
  (d.f64.empty() ? d.f32[static_cast<size_t>(at)] = static_cast<float>(value)
                 : d.f64[static_cast<size_t>(at)] = value);
  return d;
}

}  // namespace

TEST_CASE("dot products of lanes and of one thread are the contract's") {
  constexpr int64_t kRows = 5;
  for (const int64_t dim : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, 257}) {
    for (const Shape shape : {Shape::gaussian, Shape::scales, Shape::denormals}) {
      for (const bool wide_a : {false, true}) {
        for (const bool wide_b : {false, true}) {
          const Data a = make(shape, kRows, dim, wide_a, 1), b = make(shape, kRows, dim, wide_b, 2);
          const DeviceRows on_a(a), on_b(b);
          const Array<double> by_lanes(kRows * gtn::cuda::kDotLanes), alone(kRows);
          emulation::run(dots_kernel, 1, 64, 0, on_a.view(), on_b.view(), kRows, by_lanes.data(),
                         alone.data());
          const std::vector<double> got = by_lanes.get(), got_alone = alone.get();
          int64_t wrong = 0;
          for (int64_t i = 0; i < kRows; ++i) {
            const double expected = reference::dot(a, i, b, i);
            wrong += got_alone[static_cast<size_t>(i)] != expected;
            for (int64_t lane = 0; lane < gtn::cuda::kDotLanes; ++lane) {
              wrong += got[static_cast<size_t>(i * gtn::cuda::kDotLanes + lane)] != expected;
            }
          }
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("norms, the mean and norms of centred rows are the host's") {
  gtn::Parallel parallel(1);
  for (const int64_t n : {1, 31, 1023, 1024, 1025, 2100}) {
    for (const bool f64 : {false, true}) {
      const Data x = make(Shape::off_centre, n, 5, f64, 3);
      gtn::Rows rows = x.rows("latents");
      const DeviceRows plain(x);
      CHECK(plain.norms().get() == gtn::checked_norms(rows, parallel));
      CHECK(!plain.undefined());

      const auto blocks = static_cast<size_t>((n + 1023) / 1024);
      const Array<double> partial(blocks * 5), mean(5);
      const Array<int32_t> undefined(std::vector<int32_t>{0});
      gtn::cuda::write_mean(plain.view(), n, partial.data(), mean.data(), undefined.data(),
                            nullptr);
      const std::vector<double> expected = gtn::column_mean(rows, parallel);
      CHECK(mean.get() == expected);
      CHECK(undefined.get()[0] == 0);
      if (n == 1) continue;  // nothing is left of it
      rows.mean = expected.data();
      CHECK(DeviceRows(x, expected).norms().get() == gtn::checked_norms(rows, parallel));
    }
  }
}

TEST_CASE("rows without a norm are noticed wherever they are") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const bool f64 : {false, true}) {
    const Data x = make(Shape::gaussian, 70, 3, f64, 4);
    for (const int64_t row : {0, 33, 69}) {
      for (const double bad : {inf, -inf, std::nan("")}) {
        CHECK(DeviceRows(with(x, row * 3 + 1, bad)).undefined());
      }
      Data zero = x;
      for (int64_t k = 0; k < 3; ++k) zero = with(zero, row * 3 + k, 0.0);
      CHECK(DeviceRows(zero).undefined());
      if (!f64) continue;
      CHECK(DeviceRows(with(x, row * 3 + 1, 1.4e154)).undefined());
      CHECK(!DeviceRows(with(x, row * 3 + 1, 1.3e154)).undefined());
      for (const double tiny : {1.4e-154, 1.5e-154}) {
        CHECK(DeviceRows(with(zero, row * 3 + 1, tiny)).undefined() == (tiny < 1.45e-154));
      }
    }
  }
  // The mean's own overflow: each row is fine.
  const DeviceRows large(with(with(make(Shape::gaussian, 4, 2, true, 5), 0, 1e308), 2, 1.7e308));
  const Array<double> partial(2), mean(2);
  const Array<int32_t> undefined(std::vector<int32_t>{0});
  gtn::cuda::write_mean(large.view(), 4, partial.data(), mean.data(), undefined.data(), nullptr);
  CHECK(undefined.get()[0] == 1);
}

TEST_CASE("orders by norm are the host's") {
  gtn::Parallel parallel(1);
  std::mt19937_64 random(6);
  for (const int64_t n : {1, 2, 33, 700}) {
    for (const bool ties : {false, true}) {
      std::vector<double> norms;
      for (int64_t i = 0; i < n; ++i) {
        norms.push_back(ties ? static_cast<double>(random() % 5 + 1)
                             : std::ldexp(1.0, static_cast<int>(random() % 900) - 450));
      }
      for (const bool part : {false, true}) {
        std::vector<int32_t> rows;
        for (int32_t i = 0; i < n; ++i) {
          if (!part || random() % 3 == 0 || i == n - 1) rows.push_back(i);
        }
        const Array<double> there(norms);
        const Array<int32_t> given(rows), order(rows.size());
        gtn::cuda::Budget budget(0, 0, nullptr);
        gtn::cuda::Sorter sorter(budget, n);
        for (const bool descending : {false, true}) {
          gtn::cuda::write_order(part ? given.data() : nullptr, static_cast<int64_t>(rows.size()),
                                 there.data(), descending, sorter, order.data(), nullptr);
          CHECK(order.get() == gtn::sorted_by_norm(rows, norms, descending, parallel));
        }
      }
    }
  }
}
