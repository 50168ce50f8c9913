// What bindings over many processes share: their exchange in Python, and arrays of global rows.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "bindings/gil.hpp"
#include "core/exchange.hpp"
#include "core/rows.hpp"

namespace gtn {

using Indices = pybind11::array_t<int64_t, pybind11::array::c_style>;
using Values = pybind11::array_t<double, pybind11::array::c_style>;

inline std::span<const int64_t> span_of(const Indices& array, const char* name) {
  if (array.ndim() != 1) throw pybind11::value_error(std::string(name) + " must be 1-D");
  return {array.data(), static_cast<size_t>(array.shape(0))};
}

// A Python object with rank, world and all_gather(sent, received).
class PythonExchange final : public Exchange {
 public:
  explicit PythonExchange(pybind11::object exchange)
      : exchange_(std::move(exchange)),
        rank_(exchange_.attr("rank").cast<int>()),
        world_(exchange_.attr("world").cast<int>()) {
    if (world_ < 1 || rank_ < 0 || rank_ >= world_) {
      throw pybind11::value_error("exchange must have a world >= 1 and a rank below it");
    }
  }
  int rank() const override { return rank_; }
  int world() const override { return world_; }
  void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) override {
    gil::with_gil(began_, [&] {
      const auto from = pybind11::memoryview::from_memory(sent.data(), std::ssize(sent));
      const auto to = pybind11::memoryview::from_memory(received.data(), std::ssize(received));
      gil::call(exchange_.attr("all_gather"), pybind11::make_tuple(from, to));
    });
  }
  void begin() { began_ = gil::generation; }

 private:
  pybind11::object exchange_;
  int rank_, world_;
  unsigned began_ = gil::generation;
};

// The rows of a process among those of all. Throws ValueError.
inline std::span<const int64_t> rows_among(const Indices& index, const Rows& rows, int64_t total) {
  const std::span<const int64_t> among = span_of(index, "index");
  if (std::ssize(among) != rows.count || rows.dim < 1) {
    throw pybind11::value_error("latents must have shape [m, dim], and index [m]");
  }
  for (size_t i = 0; i < among.size(); ++i) {
    if (among[i] < (i == 0 ? 0 : among[i - 1] + 1) || among[i] >= total) {
      throw pybind11::value_error("index must ascend from 0 or more, and lie below total");
    }
  }
  return among;
}

}  // namespace gtn
