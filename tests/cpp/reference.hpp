// What the C++ tests compare with: random data and a literal version of the contract, one source at
// a time over all free latents. Shares no code with the engine.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/order.hpp"
#include "core/rows.hpp"

namespace reference {

struct Data {
  int64_t n = 0, dim = 0;
  std::vector<float> f32;
  std::vector<double> f64;  // used instead of f32 if not empty
  gtn::Rows rows(const char* name) const;
  double at(int64_t row, int64_t k) const;
};

enum class Kind { gaussian, off_centre, clusters, tight_clusters, lattice, repeated, heavy, wide };
constexpr Kind kKinds[] = {Kind::gaussian, Kind::off_centre, Kind::clusters, Kind::tight_clusters,
                           Kind::lattice,  Kind::repeated,   Kind::heavy,    Kind::wide};

Data make(Kind kind, int64_t n, int64_t dim, uint64_t seed);

double dot(const Data& a, int64_t i, const Data& b, int64_t j);

// 0, 1, ..., n - 1.
std::vector<int32_t> all_rows(int64_t n);

// What the contract leaves to the caller.
struct Rules {
  gtn::Order order = gtn::Order::norm;
  int64_t cone = 1;
  bool center = false;
  std::vector<int64_t> source_groups = {}, latent_groups = {};  // empty: one group
};

struct Outcome {
  std::vector<int64_t> assignment;  // latent row by source row
  std::vector<double> cosine;       // by source row
  std::vector<int64_t> visited;     // latent row by position in visiting order
};
Outcome match(const Data& latents, const Data& sources, const Rules& rules);

}  // namespace reference
