// Engine: computes a run for match_rows. Holds what its backend needs beside the arguments that all
// have. The classes are in register_engines.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>

#include "bindings/arguments.hpp"
#include "core/match.hpp"
#include "core/optimal.hpp"

namespace gtn {

// Statistics of one backend alone, by their names in Matching.stats.
using OwnStats = std::map<std::string, std::variant<bool, double, std::string>>;

struct Ran {
  Stats stats;  // Stats::instruction_set says what ran
  OwnStats more;
};

// How optimal transport searches.
struct Priced {
  PricedBackend backend;
  std::function<OwnStats()> more;  // after the run
};

class Engine {
 public:
  Engine() = default;
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // As gtn::match_rows, without the GIL.
  virtual Ran match(const Task& task, const MatchOutput& out, int64_t& done, Poll poll) const = 0;

  // memory: bytes of a device that a search may take, 0 for no limit.
  virtual Priced priced(const std::string& /*instruction_set*/, int64_t /*memory*/) const {
    throw std::logic_error("this engine does not search for optimal transport");
  }
};

}  // namespace gtn
