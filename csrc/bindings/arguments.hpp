// Checks the arguments of match_rows and audit_rows, arrays or rows on a device, for type and
// shape; calls back to Python while the engine runs without the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "bindings/gil.hpp"
#include "core/problem.hpp"

namespace gtn {

using Labels = pybind11::array_t<int64_t, pybind11::array::c_style>;

// Input of an engine. Holds no Python object.
struct Task {
  MatchInput in;  // views of the arrays, which must outlive it
  bool latents_on_device;
  bool sources_on_device;
  std::string instruction_set;
  int64_t memory;

  // Throws TypeError if rows are on a device.
  void require_host() const;
};

// A view of an array, or of rows on a device. Throws TypeError.
Rows rows_of(const pybind11::object& given, const char* name);

// Throws ValueError for a name that is none.
Order order_of(const std::string& name);

struct Arguments {
  pybind11::object latents;  // an array, or DeviceRows
  pybind11::object sources;
  std::string order;
  int64_t cone;
  bool center;
  std::optional<Labels> source_groups;
  std::optional<Labels> latent_groups;
  std::string instruction_set;
  int threads;
  int64_t memory;

  // Throws TypeError or ValueError.
  Task task() const;
};

// The engine calls this about every 50 ms. Takes the GIL for signals, and every 100 ms for the
// caller's poll(done).
class PythonPoll {
 public:
  PythonPoll(const pybind11::object& poll, const int64_t& done) : poll_(poll), done_(done) {}
  void operator()() const;
  void finish() const;

 private:
  const pybind11::object& poll_;
  const int64_t& done_;
  unsigned began_ = gil::generation;
  gil::Run run_;
  mutable std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace gtn
