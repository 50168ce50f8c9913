#include "cuda/scan_check.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "cuda/device_memory.hpp"

namespace gtn::cuda {
namespace {

constexpr int32_t kCells = 3;
constexpr uint64_t kDead = 8;     // one latent in so many has zeros, as those that are taken
constexpr uint64_t kExtreme = 8;  // and one row in so many the ends of the range
constexpr uint64_t kDeadGroup = 16;

class Random {  // splitmix64
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  bool one_in(uint64_t n) { return bits() % n == 0; }
  float unit() { return static_cast<float>(bits() % 4096) / 4096.0f; }
  float step() {  // 12 significant bits, as steps have
    return std::ldexp(static_cast<float>(bits() % 2048 + 2048), -20);
  }

 private:
  uint64_t state_;
};

void fill_row(int8_t* row, int32_t dim, Random& random) {
  const bool extreme = random.one_in(kExtreme);
  uint64_t bits = 0;
  for (int32_t k = 0; k < dim; ++k, bits >>= 8) {
    if (k % 8 == 0) bits = random.bits();
    const auto code = static_cast<int8_t>(bits & 0xff);
    row[k] = static_cast<int8_t>(extreme ? (code < 0 ? -127 : 127) : code < -127 ? -127 : code);
  }
}

template <class T>
DeviceArray<T> on_device(Budget& budget, const std::vector<T>& values, cudaStream_t stream) {
  DeviceArray<T> array(budget, static_cast<int64_t>(values.size()), "the check of a kernel");
  check(cudaMemcpyAsync(array.data(), values.data(), values.size() * sizeof(T),
                        cudaMemcpyHostToDevice, stream),
        "copying codes");
  return array;
}

// Rows of codes in an order of their own.
std::vector<int8_t> in_order(CodeOrder order, const std::vector<int8_t>& rows, int32_t stride) {
  std::vector<int8_t> placed(rows.size());
  for (int64_t r = 0; r < std::ssize(rows) / stride; ++r) {
    const CodeRow<const int8_t> from(rows.data(), CodeOrder::rows, stride, r);
    const CodeRow<int8_t> to(placed.data(), order, stride, r);
    for (int32_t k = 0; k < stride; ++k) *to.at(k) = *from.at(k);
  }
  return placed;
}

}  // namespace

ScanCheck check_scan(const ScanKernel& kernel, const ScanCheckShape& shape, int multiprocessors,
                     cudaStream_t stream) {
  const Slots slots{shape.tiles};
  const int32_t stride = (shape.dim + kStrideBytes - 1) / kStrideBytes * kStrideBytes;
  const int32_t source_rows = (shape.sources + kSourceRows - 1) / kSourceRows * kSourceRows;
  const auto superpanels = static_cast<int32_t>((shape.latents + slots.superpanel_slots() - 1) /
                                                slots.superpanel_slots());
  const int64_t latent_rows = int64_t{superpanels} * slots.superpanel_slots();
  const int64_t groups = int64_t{superpanels} * kTileGroups;

  Random random(shape.seed);
  std::vector<int8_t> latent_codes(static_cast<size_t>(latent_rows * stride), 0);
  std::vector<int8_t> source_codes(static_cast<size_t>(int64_t{source_rows} * stride), 0);
  for (int64_t r = 0; r < latent_rows; ++r)
    if (!random.one_in(kDead))
      fill_row(&latent_codes[static_cast<size_t>(r * stride)], shape.dim, random);
  for (int64_t r = 0; r < shape.sources; ++r)
    fill_row(&source_codes[static_cast<size_t>(r * stride)], shape.dim, random);
  std::vector<GroupCode> group_codes;
  for (int64_t g = 0; g < groups; ++g) {
    const bool dead = random.one_in(kDeadGroup);
    group_codes.push_back({random.step(),
                           dead ? -std::numeric_limits<float>::infinity() : random.unit(),
                           random.unit(), static_cast<int32_t>(random.bits() % kCells)});
  }
  std::vector<SourceCode> sources;
  std::vector<float> base;
  for (int32_t s = 0; s < source_rows; ++s) {
    const bool live = s < shape.sources;
    sources.push_back(live ? SourceCode{random.step(), random.unit() + 0.5f, random.unit()}
                           : SourceCode{0.0f, 0.0f, 0.0f});
  }
  for (int64_t i = 0; i < int64_t{kCells} * source_rows; ++i) base.push_back(random.unit() - 0.5f);

  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  Budget budget(device, 0, stream);
  const auto there_groups = on_device(budget, group_codes, stream);
  const auto there_steps = on_device(budget, sources, stream);
  const auto there_base = on_device(budget, base, stream);
  const int64_t pairs = groups * shape.sources, bounds = (shape.named ? 2 : 1) * pairs;
  // Both kinds of bounds, one behind the other. What a kernel does not write differs in the two: it
  // would show.
  const auto scanned = [&](const ScanKernel& with, int unwritten) {
    const auto there_latents =
        on_device(budget, in_order(with.order, latent_codes, stride), stream);
    const auto there_sources =
        on_device(budget, in_order(with.order, source_codes, stride), stream);
    const DeviceArray<int32_t> upper(budget, bounds, "the check of a kernel");
    std::vector<int32_t> there(static_cast<size_t>(bounds));
    const size_t bytes = there.size() * sizeof(int32_t);
    check(cudaMemsetAsync(upper.data(), unwritten, bytes, stream), "preparing bounds");
    with.scan({there_sources.data(), there_steps.data(), there_base.data(), there_latents.data(),
               there_groups.data(), reinterpret_cast<float*>(upper.data()),
               shape.named ? upper.data() + pairs : nullptr, shape.sources, source_rows, stride,
               superpanels, slots},
              multiprocessors, stream);
    check(cudaMemcpyAsync(there.data(), upper.data(), bytes, cudaMemcpyDeviceToHost, stream),
          "reading bounds");
    check(cudaStreamSynchronize(stream), "checking a kernel");
    return there;
  };
  const std::vector<int32_t> expected = scanned(scan_dp4a, 0x00), found = scanned(kernel, 0xff);

  ScanCheck result;
  result.bounds = bounds;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] == expected[i] || result.wrong++ > 0) continue;
    result.source = static_cast<int32_t>(static_cast<int64_t>(i) % pairs / groups);
    result.group = static_cast<int32_t>(static_cast<int64_t>(i) % groups);
    result.found = std::bit_cast<float>(found[i]);
    result.expected = std::bit_cast<float>(expected[i]);
  }
  return result;
}

}  // namespace gtn::cuda
