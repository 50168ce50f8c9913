#include "cpu/kernel_rate.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

namespace gtn {
namespace {

// Half of a first-level cache of 48 KB, a little less than one of 32 KB: sources and sums fit too.
constexpr int64_t kCachedBytes = 24 * 1024;
constexpr int64_t kBytesAStep = kPanelLatents * 4;

// Codes begin with a cache line, as in the engine.
struct alignas(64) Line {
  uint8_t bytes[64];
};

std::vector<Line> lines(int64_t bytes, uint8_t code) {
  std::vector<Line> all((bytes + 63) / 64);
  for (Line& line : all) std::fill(std::begin(line.bytes), std::end(line.bytes), code);
  return all;
}

}  // namespace

double int8_rate(const Kernel& kernel, int64_t dim, double seconds) {
  const ScanKernel& scan = kernel.int8;
  const int64_t steps = (dim + 3) / 4;
  const int64_t multiple = scan.step_multiple;
  const int64_t source_steps = (steps + multiple - 1) / multiple * multiple;
  const int64_t panels = std::max<int64_t>(1, kCachedBytes / (steps * kBytesAStep));
  // Behind the last panel lies what a kernel may read past its end.
  const std::vector<Line> latents =
      lines((panels * steps + source_steps - steps) * kBytesAStep, 129);
  const std::vector<Line> sources = lines(scan.tile_sources * source_steps * 4, 1);
  std::vector<int32_t> hits(kPanelLatents + 16);  // nobody writes here

  ScanTile tile = {};
  tile.panels = latents.data();
  tile.steps = static_cast<int32_t>(steps);
  tile.source_steps = static_cast<int32_t>(source_steps);
  tile.sources = sources.data();
  for (int i = 0; i < kMostTileSources; ++i) {
    tile.threshold[i] = INT32_MAX;
    tile.hit_sums[i] = tile.hit_positions[i] = hits.data();
  }
  const double products = static_cast<double>(panels * kPanelLatents * scan.tile_sources * dim);
  const auto start = std::chrono::steady_clock::now();
  double done = 0, elapsed = 0;
  // The clock is read after a batch that takes some ten microseconds: it costs nothing then.
  const int batch = static_cast<int>(std::max(1.0, 1e7 / products));
  while (elapsed < seconds) {
    for (int i = 0; i < batch; ++i) {
      tile.panel_begin = 0;
      tile.panel_end = panels;
      scan.scan(&tile);
    }
    done += batch * products;
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return done / elapsed;
}

}  // namespace gtn
