// A problem on the emulated device, without the run around it, for tests of the engine's parts.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/parallel.hpp"
#include "cuda/norms.hpp"
#include "cuda/rows_view.hpp"
#include "device_array.hpp"
#include "reference.hpp"

namespace emulation {

// Bytes of rows.
inline std::vector<unsigned char> bytes_of(const reference::Data& d) {
  const gtn::Rows rows = d.rows("");
  const auto* data = static_cast<const unsigned char*>(rows.data);
  const size_t size = rows.dtype == gtn::DType::f32 ? sizeof(float) : sizeof(double);
  return {data, data + size * static_cast<size_t>(rows.count * rows.dim)};
}

// Rows on the device, and their norms.
class DeviceRows {
 public:
  explicit DeviceRows(const reference::Data& d, const std::vector<double>& mean = {})
      : rows_(bytes_of(d)),
        mean_(mean.empty() ? std::vector<double>(1) : mean),
        norms_(static_cast<size_t>(d.n)),
        count_(d.n),
        view_{rows_.data(), mean.empty() ? nullptr : mean_.data(), d.dim, !d.f64.empty()} {
    const Array<int32_t> undefined(std::vector<int32_t>{0});
    gtn::cuda::write_norms(view_, d.n, norms_.data(), undefined.data(), nullptr);
    undefined_ = undefined.get()[0];
  }

  const gtn::cuda::RowsView& view() const { return view_; }
  const Array<double>& norms() const { return norms_; }
  int64_t count() const { return count_; }
  bool undefined() const { return undefined_ != 0; }

 private:
  Array<unsigned char> rows_;
  Array<double> mean_;
  Array<double> norms_;
  int64_t count_;
  gtn::cuda::RowsView view_;
  int32_t undefined_ = 0;
};

// One group of everything: ranks, the order of sources, and what parts of the engine work with.
class DeviceProblem {
 public:
  DeviceProblem(const reference::Data& x, const reference::Data& y,
                const std::vector<double>& mean = {})
      : latents(x, mean),
        sources(y),
        sorter(budget, std::max(x.n, y.n)),
        row_of_rank_(static_cast<size_t>(x.n)),
        order_(static_cast<size_t>(y.n)) {
    gtn::cuda::write_order(nullptr, x.n, latents.norms().data(), false, sorter, row_of_rank_.data(),
                           nullptr);
    gtn::cuda::write_order(nullptr, y.n, sources.norms().data(), false, sorter, order_.data(),
                           nullptr);
    problem = {latents.view(), sources.view(), latents.norms().data(), sources.norms().data(),
               row_of_rank_.data()};
  }

  // The latents of these ranks are what is laid out next.
  void give_to_sorter(const std::vector<int32_t>& ranks) {
    REQUIRE(cudaMemcpy(sorter.values(), ranks.data(), ranks.size() * sizeof(int32_t),
                       cudaMemcpyHostToDevice) == cudaSuccess);
  }
  const int32_t* order() const { return order_.data(); }
  std::vector<int32_t> rows_by_rank() const { return row_of_rank_.get(); }
  std::vector<int32_t> sources_in_order() const { return order_.get(); }

  gtn::cuda::Budget budget{0, 0, nullptr};
  gtn::Parallel parallel{1};
  DeviceRows latents, sources;
  gtn::cuda::Sorter sorter;
  gtn::cuda::Problem problem{};

 private:
  Array<int32_t> row_of_rank_, order_;
};

}  // namespace emulation
