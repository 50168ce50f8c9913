// A matching by the cuda backend over the emulator, the same by the cpu backend, and inputs that
// are hard on bounds; for the tests of the cuda backend.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda/backend_cuda.hpp"
#include "reference.hpp"

namespace emulation {

enum class Shape {
  gaussian,
  off_centre,
  tiny_clusters,  // of radius 1e-6
  clusters,       // of radius 1e-2, and a few strays
  duplicates,     // ten rows, again and again
  equal,          // one row, again and again
  integers,       // -1, 0 and 1: ties by construction
  antipodal,      // each row and its opposite
  outlier,        // one far from a small ball
  line,           // one direction and its opposite, many norms
  scales,         // norms over all that a norm may be
  denormals,      // float32: all; float64: some coordinates
};
constexpr Shape kShapes[] = {Shape::gaussian, Shape::off_centre, Shape::tiny_clusters,
                             Shape::clusters, Shape::duplicates, Shape::equal,
                             Shape::integers, Shape::antipodal,  Shape::outlier,
                             Shape::line,     Shape::scales,     Shape::denormals};
const char* name_of(Shape shape);

reference::Data make(Shape shape, int64_t n, int64_t dim, bool f64, uint64_t seed);

struct Result : reference::Outcome {
  gtn::cuda::DeviceStats stats;
  int64_t done = 0;
};

struct Job {
  const reference::Data& latents;
  const reference::Data& sources;
  reference::Rules rules = {};
  // The plainest kernel: others are compared with it elsewhere.
  gtn::cuda::Options options = {.kernel = "dp4a"};
  std::function<void()> poll = [] {};

  gtn::MatchInput input() const;
  // `result` keeps what was reached if this throws. Its visited[:start] is what was decided before.
  void run(Result& result, int64_t start = 0) const;
  Result run() const;
  Result run_on_cpu() const;
};

// Sources and positions where two matchings differ in a bit.
int64_t differences(const reference::Outcome& a, const reference::Outcome& b);

// What the emulated devices hold: allocations, pinned ones too, streams and events.
int64_t live_objects();

}  // namespace emulation
