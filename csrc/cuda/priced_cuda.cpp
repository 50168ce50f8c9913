#include "cuda/priced_cuda.hpp"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <string>

#include "core/match.hpp"
#include "core/shortlist.hpp"
#include "cuda/plan.hpp"

namespace gtn::cuda {
namespace {

constexpr int64_t kMostDim = 131072;  // as the matching's; errors of longer sums leave error_share
constexpr int32_t kMostWindow = 4096;
constexpr int32_t kLeastWindow = 32;
constexpr int64_t kBoundsAtOnce = int64_t{256} << 20;  // bytes of a window's bounds, about
constexpr int64_t kKeysASource = 64;     // room for lists; longer ones come in smaller windows
constexpr int32_t kMostChanges = 16384;  // prices that are told one by one
constexpr int64_t kUpload = 16 << 20;    // bytes of codes that are made at a time

int32_t rounded_up(int64_t count, int32_t to) {
  return static_cast<int32_t>((count + to - 1) / to * to);
}

// Error of the dot product of two codes, in units of |x| |y|: both coordinates of each of the dim
// products are rounded to float32 (2^-24 each), each fused addition rounds once, and the contract's
// own roundings are far smaller. A tenth is added for second-order terms, at most dim 2^-24, which
// is 1/128.
double error_share(int64_t stride) {
  return 1.1 * static_cast<double>(stride + 4) * 0x1p-24;
}
// What numbers below float32's smallest add to it, over all coordinates.
constexpr double kUnderflow = 0x1p-120;

float rounded_up_to_float(double v) {
  if (v > FLT_MAX) return std::numeric_limits<float>::infinity();
  if (v < -FLT_MAX) return -FLT_MAX;
  const auto f = static_cast<float>(v);
  return f < v ? std::nextafter(f, std::numeric_limits<float>::infinity()) : f;
}

}  // namespace

PricedPlan::PricedPlan(int64_t latents, int64_t dim, int64_t sources)
    : tiles(rounded_up(latents, kPricedTile) / kPricedTile), stride(rounded_up(dim, kPricedStep)) {
  const int64_t bytes_a_source = int64_t{2} * tiles * static_cast<int64_t>(sizeof(float));
  const int64_t wanted = std::clamp<int64_t>(kBoundsAtOnce / bytes_a_source, 128, kMostWindow);
  most_window = window = static_cast<int32_t>(std::min(wanted, std::max<int64_t>(sources, 1)));
}

int64_t PricedPlan::key_room(int64_t sources) const {
  return std::max<int64_t>(sources * kKeysASource, kMostPricedDepth);
}

int64_t PricedPlan::bytes(int64_t sources) const {
  const int64_t latents = int64_t{tiles} * kPricedTile;
  const int64_t codes = latents * (int64_t{stride} + 1) * static_cast<int64_t>(sizeof(float));
  const int64_t a_source = (int64_t{stride} + int64_t{2} * tiles) * 4 + 4 + 4;
  return kSpareBytes + codes + kMostChanges * static_cast<int64_t>(sizeof(Repriced)) +
         sources * a_source + key_room(sources) * 8;
}

int64_t PricedPlan::least_bytes() const {
  return bytes(std::min(kLeastWindow, most_window));
}

bool PricedPlan::fit(int64_t available) {
  for (window = most_window; window > kLeastWindow && bytes(window) > available;) window /= 2;
  window = std::max(window, std::min(kLeastWindow, most_window));
  return bytes(window) <= available;
}

PricedCudaSearch::PricedCudaSearch(const Options& options, const Scorer& scorer,
                                   const ScoreGrid& grid, const DistinctLatents& distinct,
                                   PriceView prices, Parallel& parallel, PricedDeviceStats& stats)
    : options_(options),
      scorer_(scorer),
      grid_(grid),
      distinct_(distinct),
      prices_(prices),
      parallel_(parallel),
      stats_(stats),
      unit_(scorer.latents().length * scorer.sources().length),
      plan_(distinct.count(), scorer.latents().dim, scorer.sources().count),
      preparing_(std::in_place, options.device),
      stream_(options.stream),
      budget_(options.device, options.memory, stream_) {
  if (scorer.latents().dim > kMostDim) {
    throw std::invalid_argument("latents must have at most " + std::to_string(kMostDim) +
                                " columns for backend 'cuda', got " +
                                std::to_string(scorer.latents().dim));
  }
  make_room();
  write_codes();
  preparing_.reset();
}

void PricedCudaSearch::make_room() {
  const int64_t least = plan_.least_bytes();
  require_memory(options_.memory, least);
  for (;;) {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    const auto usable = static_cast<int64_t>(free - free / 32);
    const bool limited = options_.memory > 0 && options_.memory <= usable;
    const bool fits = plan_.fit(limited ? options_.memory : usable);
    if (limited || (fits && plan_.window == plan_.most_window)) break;
    // What others have cached, such as torch after training, counts as taken.
    if (!stats_.cache_freed && options_.free_cached && options_.free_cached()) {
      stats_.cache_freed = true;
      continue;
    }
    if (fits) break;
    throw OutOfMemory("cuda:" + std::to_string(options_.device) +
                      " is out of memory: this input needs at least " + std::to_string(least) +
                      " bytes, but of its " + std::to_string(total) + " only " +
                      std::to_string(usable) + " can be taken");
  }
  budget_.reserve(plan_.bytes(plan_.window));
  const int64_t latents = int64_t{plan_.tiles} * kPricedTile, window = plan_.window;
  const int64_t keys = plan_.key_room(window);
  codes_ = DeviceArray<float>(budget_, latents * plan_.stride, "codes of latents");
  biases_ = DeviceArray<float>(budget_, latents, "prices");
  changes_ = DeviceArray<Repriced>(budget_, kMostChanges, "prices");
  sources_ = DeviceArray<float>(budget_, window * plan_.stride, "codes of sources");
  upper_ = DeviceArray<float>(budget_, window * 2 * plan_.tiles, "bounds of a window");
  keys_ = DeviceArray<uint64_t>(budget_, keys, "lists");
  lengths_ = DeviceArray<int32_t>(budget_, window, "lists");
  outside_ = DeviceArray<uint32_t>(budget_, window, "lists");
  bias_ = PinnedArray<float>(latents, "prices", stream_);
  their_changes_ = PinnedArray<Repriced>(kMostChanges, "prices", stream_);
  their_sources_ = PinnedArray<float>(window * plan_.stride, "codes of sources", stream_);
  their_keys_ = PinnedArray<uint64_t>(keys, "lists", stream_);
  their_lengths_ = PinnedArray<int32_t>(window, "lists", stream_);
  their_outside_ = PinnedArray<uint32_t>(window, "lists", stream_);
  stats_.device_bytes = std::max(stats_.device_bytes, budget_.most_taken());
}

void PricedCudaSearch::write_codes() {
  const int32_t count = distinct_.count();
  const int64_t dim = scorer_.latents().dim, stride = plan_.stride;
  const double length = scorer_.latents().length;
  const double share = error_share(stride);
  const int64_t tile_size = stride * kPricedTile;
  const int64_t at_once = std::clamp<int64_t>(
      kUpload / (tile_size * static_cast<int64_t>(sizeof(float))), 1, plan_.tiles);
  error_.resize(count);
  changed_.assign(count, 0);
  std::fill(bias_.data(), bias_.data() + int64_t{plan_.tiles} * kPricedTile,
            -std::numeric_limits<float>::infinity());
  std::vector<float> codes(at_once * tile_size);
  for (int64_t first = 0; first < plan_.tiles; first += at_once) {
    const int64_t tiles = std::min(at_once, plan_.tiles - first);
    std::fill(codes.begin(), codes.end(), 0.0f);
    parallel_.run(tiles, 1, [&](int64_t begin, int64_t end, int) {
      std::vector<double> row(dim);
      for (int64_t at = begin * kPricedTile; at < end * kPricedTile; ++at) {
        const int64_t id = first * kPricedTile + at;
        if (id >= count) break;
        widen_row(scorer_.latents(), distinct_.row(static_cast<LatentId>(id)), row.data());
        float* out = &codes[at / kPricedTile * tile_size + at % kPricedTile];
        double squared = 0.0;
        for (int64_t k = 0; k < dim; ++k) {
          const double v = row[k] / length;
          out[k * kPricedTile] = static_cast<float>(v);
          squared += v * v;
        }
        error_[id] = rounded_up_to_float(share * std::sqrt(squared) + kUnderflow);
        bias_.data()[id] = bias_of(static_cast<LatentId>(id));
      }
    });
    check(cudaMemcpyAsync(codes_.data() + first * tile_size, codes.data(),
                          static_cast<size_t>(tiles * tile_size) * sizeof(float),
                          cudaMemcpyHostToDevice, stream_),
          "writing codes");
    check(cudaStreamSynchronize(stream_), "writing codes");  // the vector is written again
  }
  check(cudaMemcpyAsync(biases_.data(), bias_.data(),
                        static_cast<size_t>(plan_.tiles) * kPricedTile * sizeof(float),
                        cudaMemcpyHostToDevice, stream_),
        "writing prices");
  check(cudaStreamSynchronize(stream_), "writing prices");  // raised() writes there
}

// The division by unit_, a power of two, does not round.
float PricedCudaSearch::bias_of(LatentId id) const {
  const double price = grid_.real(prices_.of(id)) / unit_;
  return rounded_up_to_float(static_cast<double>(error_[id]) - price +
                             (std::fabs(price) + 1.0) * 0x1p-50);
}

void PricedCudaSearch::raised(std::span<const LatentId> ids) {
  for (const LatentId id : ids) {
    bias_.data()[id] = bias_of(id);
    if (changed_[id]) continue;
    changed_[id] = 1;
    untold_.push_back(id);
  }
}

void PricedCudaSearch::tell_prices() {
  if (untold_.empty()) return;
  if (std::ssize(untold_) <= kMostChanges) {
    const auto count = static_cast<int32_t>(untold_.size());
    for (int32_t i = 0; i < count; ++i) {
      their_changes_.data()[i] = {untold_[i], bias_.data()[untold_[i]]};
    }
    check(cudaMemcpyAsync(changes_.data(), their_changes_.data(), untold_.size() * sizeof(Repriced),
                          cudaMemcpyHostToDevice, stream_),
          "writing prices");
    write_bias(changes_.data(), count, biases_.data(), stream_);
  } else {
    check(cudaMemcpyAsync(biases_.data(), bias_.data(),
                          static_cast<size_t>(plan_.tiles) * kPricedTile * sizeof(float),
                          cudaMemcpyHostToDevice, stream_),
          "writing prices");
  }
  for (const LatentId id : untold_) changed_[id] = 0;
  untold_.clear();
}

void PricedCudaSearch::search(std::span<const SourceRow> sources, std::span<const int64_t>,
                              int64_t depth, std::span<PricedList> lists) {
  const OnDevice here(options_.device);
  tell_prices();
  depth = std::clamp<int64_t>(depth, 1, kMostPricedDepth);
  const auto room = static_cast<size_t>(plan_.key_room(plan_.window) / depth);
  const size_t window = std::min(static_cast<size_t>(plan_.window), room);
  for (size_t from = 0; from < sources.size(); from += window) {
    const size_t count = std::min(window, sources.size() - from);
    search_window(sources.subspan(from, count), depth, lists.subspan(from, count));
  }
}

void PricedCudaSearch::search_window(std::span<const SourceRow> sources, int64_t depth,
                                     std::span<PricedList> lists) {
  const int64_t count = std::ssize(sources), dim = scorer_.sources().dim, stride = plan_.stride;
  const double length = scorer_.sources().length;
  parallel_.run(count, 16, [&](int64_t begin, int64_t end, int) {
    std::vector<double> row(dim);
    for (int64_t i = begin; i < end; ++i) {
      widen_row(scorer_.sources(), sources[i], row.data());
      float* out = their_sources_.data() + i * stride;
      for (int64_t k = 0; k < dim; ++k) out[k] = static_cast<float>(row[k] / length);
      std::fill(out + dim, out + stride, 0.0f);
    }
  });
  const auto bytes = [&](int64_t each, size_t size) {
    return static_cast<size_t>(each * count) * size;
  };
  check(cudaMemcpyAsync(sources_.data(), their_sources_.data(), bytes(stride, sizeof(float)),
                        cudaMemcpyHostToDevice, stream_),
        "writing codes");
  const PricedTask task{codes_.data(),
                        biases_.data(),
                        sources_.data(),
                        upper_.data(),
                        distinct_.count(),
                        plan_.tiles,
                        plan_.stride,
                        static_cast<int32_t>(count),
                        static_cast<int32_t>(depth),
                        keys_.data(),
                        lengths_.data(),
                        outside_.data(),
                        ++turn_};
  write_priced_upper(task, stream_);
  write_priced_lists(task, stream_);
  check(cudaMemcpyAsync(their_keys_.data(), keys_.data(), bytes(depth, sizeof(uint64_t)),
                        cudaMemcpyDeviceToHost, stream_),
        "reading lists");
  check(cudaMemcpyAsync(their_lengths_.data(), lengths_.data(), bytes(1, sizeof(int32_t)),
                        cudaMemcpyDeviceToHost, stream_),
        "reading lists");
  check(cudaMemcpyAsync(their_outside_.data(), outside_.data(), bytes(1, sizeof(uint32_t)),
                        cudaMemcpyDeviceToHost, stream_),
        "reading lists");
  check(cudaStreamSynchronize(stream_), "searching");
  stats_.products += static_cast<double>(count) * plan_.tiles * kPricedTile * plan_.stride;

  std::atomic<bool> wrong{false};
  parallel_.run(count, 64, [&](int64_t begin, int64_t end, int) {
    CandidateList found;
    for (int64_t i = begin; i < end; ++i) {
      found.clear();
      if (their_lengths_.data()[i] < 0) wrong.store(true, std::memory_order_relaxed);
      const uint64_t* keys = their_keys_.data() + i * depth;
      for (int32_t t = 0; t < their_lengths_.data()[i]; ++t) {
        found.items.push_back({id_of_key(keys[t]), bound_of(order_of_key(keys[t]))});
      }
      const uint32_t rest = their_outside_.data()[i];
      found.outside = rest == 0 ? -kInfinity : bound_of(rest);
      set_list(found, depth, unit_, grid_, prices_, lists[i]);
      if (!bounds_one(sources[i], lists[i])) wrong.store(true, std::memory_order_relaxed);
    }
  });
  if (wrong.load()) {
    throw Error(
        "cuda:" + std::to_string(options_.device) +
        " made wrong bounds of scores: the GPU or a kernel is at fault, and pairs could be wrong. "
        "backend 'cpu' can be used");
  }
}

// True if the bound of one listed latent, another in each search, is no less than its exact score.
bool PricedCudaSearch::bounds_one(SourceRow source, const PricedList& list) const {
  if (list.items.empty()) return true;
  const PricedCandidate& c = list.items[turn_ % list.items.size()];
  return grid_.of(scorer_.score(distinct_.row(c.id), 1.0, source)) <= c.score;
}

PricedBackend priced_backend(const Options& options, PricedDeviceStats& stats) {
  return [options, &stats](const Scorer& scorer, const ScoreGrid& grid,
                           const DistinctLatents& distinct, PriceView prices,
                           Parallel& parallel) -> std::unique_ptr<PricedSearch> {
    return std::make_unique<PricedCudaSearch>(options, scorer, grid, distinct, prices, parallel,
                                              stats);
  };
}

}  // namespace gtn::cuda
