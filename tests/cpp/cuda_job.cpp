#include "cuda_job.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "core/match.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/instruction_sets.hpp"
#include "cuda_emulator/device.hpp"

namespace emulation {

using reference::Data;

const char* name_of(Shape shape) {
  constexpr const char* kNames[] = {"gaussian",   "off_centre", "tiny_clusters", "clusters",
                                    "duplicates", "equal",      "integers",      "antipodal",
                                    "outlier",    "line",       "scales",        "denormals"};
  return kNames[static_cast<size_t>(shape)];
}

Data make(Shape shape, int64_t n, int64_t dim, bool f64, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  const auto vector = [&] {
    std::vector<double> v(static_cast<size_t>(dim));
    for (double& e : v) e = normal(random);
    return v;
  };
  constexpr int64_t kCentres = 10;
  std::vector<std::vector<double>> centres;
  for (int64_t i = 0; i < kCentres; ++i) centres.push_back(vector());
  Data d;
  d.n = n;
  d.dim = dim;
  std::vector<double> before;
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<double>& centre = centres[random() % kCentres];
    std::vector<double> row = vector();
    const double t = normal(random);
    const double exponent = uniform(random);
    for (size_t k = 0; k < row.size(); ++k) {
      double& v = row[k];
      switch (shape) {
        case Shape::gaussian:
          break;
        case Shape::off_centre:
          v += 3.0;
          break;
        case Shape::tiny_clusters:
          v = centre[k] + 1e-6 * v;
          break;
        case Shape::clusters:
          if (i % 50 != 7) v = centre[k] + 1e-2 * v;
          break;
        case Shape::duplicates:
          v = centre[k];
          break;
        case Shape::equal:
          v = centres[0][k];
          break;
        case Shape::integers:
          v = k == static_cast<size_t>(i % dim) ? 1.0 : std::clamp(std::round(v), -1.0, 1.0);
          break;
        case Shape::antipodal:
          if (i % 2 == 1) v = -before[k];
          break;
        case Shape::outlier:
          v = i == n / 2 ? -1e6 * centres[0][k] : centres[0][k] + 1e-3 * v;
          break;
        case Shape::line:
          v = t * centres[0][k];
          break;
        case Shape::scales:
          v *= std::pow(10.0, exponent * (f64 ? 150.0 : 36.0));
          break;
        case Shape::denormals:
          if (!f64 || k % 2 == 1) v *= f64 ? 1e-310 : 1e-41;
          break;
      }
    }
    before = row;
    for (const double v : row) {
      if (f64) {
        d.f64.push_back(v);
      } else {
        d.f32.push_back(static_cast<float>(v));
      }
    }
  }
  return d;
}

gtn::MatchInput Job::input() const {
  gtn::MatchInput in;
  in.latents = latents.rows("latents");
  in.sources = sources.rows("sources");
  in.order = rules.order;
  in.cone = rules.cone;
  in.center = rules.center;
  if (!rules.source_groups.empty()) {
    in.source_groups = rules.source_groups.data();
    in.latent_groups = rules.latent_groups.data();
  }
  return in;
}

namespace {

gtn::MatchOutput room(Result& r, int64_t n) {
  const auto count = static_cast<size_t>(n);
  r.assignment.assign(count, -1);
  r.visited.resize(count, -1);
  r.cosine.assign(count, 0.0);
  return {r.assignment.data(), r.cosine.data(), r.visited.data()};
}

}  // namespace

void Job::run(Result& result, int64_t start) const {
  gtn::MatchInput in = input();
  in.start = start;
  result.stats = gtn::cuda::match_rows(in, options, room(result, sources.n), result.done, poll);
}

Result Job::run() const {
  Result r;
  run(r);
  return r;
}

Result Job::run_on_cpu() const {
  Result r;
  const gtn::Backend backend =
      gtn::cpu_backend(gtn::select_instruction_set("auto"), 0, latents.n, sources.n, latents.dim);
  const gtn::MatchOutput out = room(r, sources.n);
  gtn::match_rows(input(), backend, out, r.done, poll);
  return r;
}

int64_t differences(const reference::Outcome& a, const reference::Outcome& b) {
  if (a.assignment.size() != b.assignment.size()) return -1;
  int64_t count = 0;
  for (size_t i = 0; i < a.assignment.size(); ++i) {
    count += a.assignment[i] != b.assignment[i] || a.visited[i] != b.visited[i] ||
             std::bit_cast<uint64_t>(a.cosine[i]) != std::bit_cast<uint64_t>(b.cosine[i]);
  }
  return count;
}

int64_t live_objects() {
  return gtn::emulated::live_allocations() + gtn::emulated::live_streams() +
         gtn::emulated::live_events();
}

}  // namespace emulation
