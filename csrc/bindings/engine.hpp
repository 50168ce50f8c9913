// Engine: computes a run for match_rows. Holds what its backend needs beside the arguments that all
// have. The classes are in register_engines.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>

#include "bindings/arguments.hpp"
#include "core/match.hpp"

namespace gtn {

struct Ran {
  Stats stats;  // Stats::instruction_set says what ran
  // Statistics of this backend alone, by their names in Matching.stats.
  std::map<std::string, std::variant<bool, double, std::string>> more;
};

class Engine {
 public:
  Engine() = default;
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // As gtn::match_rows, without the GIL.
  virtual Ran match(const Task& task, const MatchOutput& out, int64_t& done, Poll poll) const = 0;
};

}  // namespace gtn
