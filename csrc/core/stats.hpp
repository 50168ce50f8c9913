// Stats: what ran and what it cost. Filled by the engine, shown to users as Matching.stats.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace gtn {

struct Stats {
  std::string instruction_set;
  // Arithmetic of the shortlists, in the order of first use: "float32" (a tree), "int8", "int16",
  // such as "int8+int16"; "float64" if every latent was scored exactly.
  std::string arithmetic;
  int threads = 1;
  int64_t windows = 0;     // blocks of sources
  int64_t distinct = 0;    // distinct latents
  int64_t candidates = 0;  // shortlist entries
  int64_t rescored = 0;    // exact scores computed for shortlists
  int64_t retries = 0;     // sources whose first shortlist could not certify their best latent
  int64_t conflicts = 0;   // sources whose best latent an earlier one of their window took
  int64_t rescans = 0;     // sources searched again during the walk
  int64_t full_scans = 0;  // sources decided by a full float64 scan
  int64_t work_bytes = 0;  // largest work space held at a time, without the inputs
  struct Seconds {
    double norms = 0, order = 0, encode = 0, search = 0, decide = 0, walk = 0, remove = 0,
           total = 0;
  } seconds;
};

// Adds the life time of the object to a phase.
class PhaseTimer {
 public:
  explicit PhaseTimer(double& seconds) : seconds_(seconds), begin_(Clock::now()) {}
  ~PhaseTimer() { seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point begin_;
};

}  // namespace gtn
