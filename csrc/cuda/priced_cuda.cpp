#include "cuda/priced_cuda.hpp"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <string>

#include "core/match.hpp"
#include "core/shortlist.hpp"
#include "cuda/kernel_trust.hpp"
#include "cuda/plan.hpp"

namespace gtn::cuda {
namespace {

constexpr int64_t kMostDim = 131072;  // as the matching's; errors of longer sums leave error_share
constexpr int32_t kMostWindow = 4096;
constexpr int32_t kLeastWindow = 32;
constexpr int32_t kLeastWindowWithScores = 256;  // smaller ones cost more than exact scores save
constexpr int64_t kBoundsAtOnce = int64_t{256} << 20;  // bytes of a window's bounds, about
constexpr int64_t kKeysASource = 64;      // room for lists; longer ones come in smaller windows
constexpr int32_t kMostChanges = 16384;   // prices that are told one by one
constexpr const char* kScan = "float32";  // the name of the kernel that scans
constexpr int64_t kUpload = 16 << 20;     // bytes of codes that are made at a time

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

int64_t bytes_of_row(const Rows& rows) {
  return rows.dim * (rows.dtype == DType::f32 ? 4 : 8);
}

float rounded_up_to_float(double v) {
  if (v > FLT_MAX) return std::numeric_limits<float>::infinity();
  if (v < -FLT_MAX) return -FLT_MAX;
  const auto f = static_cast<float>(v);
  return f < v ? std::nextafter(f, std::numeric_limits<float>::infinity()) : f;
}

}  // namespace

PricedPlan::PricedPlan(const Rows& latents, int64_t latent_count, const Rows& sources)
    : tiles(rounded_up(latent_count, kPricedTile) / kPricedTile),
      stride(rounded_up(latents.dim, kPricedStep)),
      bytes_of_rows_(latent_count * bytes_of_row(latents) +
                     latents.dim * static_cast<int64_t>(sizeof(double))),
      bytes_of_a_source_(bytes_of_row(sources)) {
  const int64_t bytes_a_source = int64_t{2} * tiles * static_cast<int64_t>(sizeof(float));
  const int64_t wanted = std::clamp<int64_t>(kBoundsAtOnce / bytes_a_source, 128, kMostWindow);
  most_window = window =
      static_cast<int32_t>(std::min(wanted, std::max<int64_t>(sources.count, 1)));
}

int64_t PricedPlan::key_room(int64_t sources) const {
  return std::max<int64_t>(sources * kKeysASource, kMostPricedDepth);
}

int64_t PricedPlan::bytes(int64_t sources) const {
  const int64_t latents = int64_t{tiles} * kPricedTile;
  const int64_t codes = latents * (int64_t{stride} + 1) * static_cast<int64_t>(sizeof(float));
  const int64_t bounds = sources * 2 * tiles * static_cast<int64_t>(sizeof(float));
  return kSpareBytes + codes + kMostChanges * static_cast<int64_t>(sizeof(Repriced)) +
         (scores ? bytes_of_rows_ : 0) + bounds + source_places(sources).bytes +
         list_places(sources, key_room(sources)).bytes;
}

SourcePlaces PricedPlan::source_places(int64_t sources) const {
  const int64_t rows = sources * stride * static_cast<int64_t>(sizeof(float));
  return {rows, rows + (scores ? sources * bytes_of_a_source_ : 0)};
}

ListPlaces PricedPlan::list_places(int64_t sources, int64_t keys) const {
  const int64_t at = keys * static_cast<int64_t>(sizeof(uint64_t));
  const int64_t lengths = at + (scores ? keys * static_cast<int64_t>(sizeof(int64_t)) : 0);
  const int64_t outside = lengths + sources * static_cast<int64_t>(sizeof(int32_t));
  return {at, lengths, outside, outside + sources * static_cast<int64_t>(sizeof(uint32_t))};
}

int64_t PricedPlan::least_bytes() const {
  PricedPlan least = *this;
  least.scores = false;
  return least.bytes(std::min(kLeastWindow, most_window));
}

bool PricedPlan::fit(int64_t available) {
  for (const bool with : {true, false}) {
    scores = with;
    const int32_t least = std::min(with ? kLeastWindowWithScores : kLeastWindow, most_window);
    for (window = most_window; window > least && bytes(window) > available;) window /= 2;
    window = std::max(window, least);
    if (bytes(window) <= available) return true;
  }
  return false;
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
      plan_(scorer.latents(), distinct.count(), scorer.sources()),
      preparing_(std::in_place, options.device),
      stream_(options.stream),
      budget_(options.device, options.memory, stream_) {
  if (scorer.latents().dim > kMostDim) {
    throw std::invalid_argument("latents must have at most " + std::to_string(kMostDim) +
                                " columns for backend 'cuda', got " +
                                std::to_string(scorer.latents().dim));
  }
  replace_scan();
  make_room();
  write_codes();
  if (plan_.scores) write_rows();
  preparing_.reset();
}

// Has the plain kernel scan if the other was wrong here before.
void PricedCudaSearch::replace_scan() {
  const std::string fault = recorded_fault(kScan, options_.device);
  plain_ = !fault.empty();
  if (!plain_ || !stats_.kernel_fault.empty()) return;  // one warning a run
  stats_.kernel_fault = std::string(kScan) + ": " + fault;
  if (options_.warn) {
    options_.warn("the search kernel " + std::string(kScan) +
                  " is wrong on cuda:" + std::to_string(options_.device) + " (" + fault +
                  "): a plain one takes its place, which is slower. Please report this device");
  }
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
    if (limited || (fits && plan_.all_fits())) break;
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
  codes_ = DeviceArray<float>(budget_, latents * plan_.stride, "codes of latents");
  biases_ = DeviceArray<float>(budget_, latents, "prices");
  changes_ = DeviceArray<Repriced>(budget_, kMostChanges, "prices");
  upper_ = DeviceArray<float>(budget_, window * 2 * plan_.tiles, "bounds of a window");
  const int64_t source_bytes = plan_.source_places(window).bytes;
  const int64_t list_bytes = plan_.list_places(window, plan_.key_room(window)).bytes;
  sources_ = DeviceArray<unsigned char>(budget_, source_bytes, "sources");
  lists_ = DeviceArray<unsigned char>(budget_, list_bytes, "lists");
  if (plan_.scores) {
    latent_rows_ = DeviceArray<unsigned char>(
        budget_, distinct_.count() * bytes_of_row(scorer_.latents()), "latents");
    mean_ = DeviceArray<double>(budget_, scorer_.latents().dim, "the mean of latents");
  }
  bias_ = PinnedArray<float>(latents, "prices", stream_);
  their_changes_ = PinnedArray<Repriced>(kMostChanges, "prices", stream_);
  their_sources_ = PinnedArray<unsigned char>(source_bytes, "sources", stream_);
  their_lists_ = PinnedArray<unsigned char>(list_bytes, "lists", stream_);
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

// Latents as given, in the order of ids.
void PricedCudaSearch::write_rows() {
  const Rows& latents = scorer_.latents();
  const int64_t count = distinct_.count(), each = bytes_of_row(latents);
  const int64_t at_once = std::clamp<int64_t>(kUpload / each, 1, count);
  std::vector<unsigned char> rows(static_cast<size_t>(at_once * each));
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t some = std::min(at_once, count - first);
    parallel_.run(some, 256, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        std::memcpy(&rows[static_cast<size_t>(i * each)],
                    scorer_.latent(distinct_.row(static_cast<LatentId>(first + i))),
                    static_cast<size_t>(each));
      }
    });
    check(cudaMemcpyAsync(latent_rows_.data() + first * each, rows.data(),
                          static_cast<size_t>(some * each), cudaMemcpyHostToDevice, stream_),
          "copying latents");
    check(cudaStreamSynchronize(stream_), "copying latents");  // the vector is written again
  }
  if (latents.mean == nullptr) return;
  check(
      cudaMemcpyAsync(mean_.data(), latents.mean, static_cast<size_t>(latents.dim) * sizeof(double),
                      cudaMemcpyHostToDevice, stream_),
      "copying the mean of latents");
  check(cudaStreamSynchronize(stream_), "copying the mean of latents");
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

// Codes of a window's sources and, for exact scores, their rows.
void PricedCudaSearch::write_sources(std::span<const SourceRow> sources) {
  const Rows& rows = scorer_.sources();
  const int64_t count = std::ssize(sources), dim = rows.dim, stride = plan_.stride;
  const int64_t each = bytes_of_row(rows);
  const SourcePlaces at = plan_.source_places(count);
  auto* codes = reinterpret_cast<float*>(their_sources_.data());
  unsigned char* copies = their_sources_.data() + at.rows;
  parallel_.run(count, 16, [&](int64_t begin, int64_t end, int) {
    std::vector<double> row(dim);
    for (int64_t i = begin; i < end; ++i) {
      widen_row(rows, sources[i], row.data());
      float* out = codes + i * stride;
      for (int64_t k = 0; k < dim; ++k) out[k] = static_cast<float>(row[k] / rows.length);
      std::fill(out + dim, out + stride, 0.0f);
      if (!plan_.scores) continue;
      std::memcpy(copies + i * each,
                  static_cast<const unsigned char*>(rows.data) + int64_t{sources[i]} * each,
                  static_cast<size_t>(each));
    }
  });
  check(cudaMemcpyAsync(sources_.data(), their_sources_.data(), static_cast<size_t>(at.bytes),
                        cudaMemcpyHostToDevice, stream_),
        "copying sources");
}

void PricedCudaSearch::search_window(std::span<const SourceRow> sources, int64_t depth,
                                     std::span<PricedList> lists) {
  const int64_t count = std::ssize(sources);
  write_sources(sources);
  const ListPlaces at = plan_.list_places(count, count * depth);
  const PricedTask task{codes_.data(),
                        biases_.data(),
                        reinterpret_cast<const float*>(sources_.data()),
                        upper_.data(),
                        distinct_.count(),
                        plan_.tiles,
                        plan_.stride,
                        static_cast<int32_t>(count),
                        static_cast<int32_t>(depth),
                        reinterpret_cast<uint64_t*>(lists_.data()),
                        reinterpret_cast<int32_t*>(lists_.data() + at.lengths),
                        reinterpret_cast<uint32_t*>(lists_.data() + at.outside),
                        ++turn_};
  plain_ ? write_plain_upper(task, stream_) : write_priced_upper(task, stream_);
  write_priced_lists(task, stream_);
  if (plan_.scores) {
    const Rows &x = scorer_.latents(), &y = scorer_.sources();
    const unsigned char* rows = sources_.data() + plan_.source_places(count).rows;
    write_priced_scores(
        {{latent_rows_.data(), x.mean ? mean_.data() : nullptr, x.dim, x.dtype == DType::f64},
         {rows, nullptr, y.dim, y.dtype == DType::f64},
         grid_,
         task.keys,
         task.lengths,
         task.source_count,
         task.depth,
         reinterpret_cast<int64_t*>(lists_.data() + at.scores)},
        stream_);
  }
  check(cudaMemcpyAsync(their_lists_.data(), lists_.data(), static_cast<size_t>(at.bytes),
                        cudaMemcpyDeviceToHost, stream_),
        "reading lists");
  check(cudaStreamSynchronize(stream_), "searching");
  stats_.products += static_cast<double>(count) * plan_.tiles * kPricedTile * plan_.stride;
  const auto* all_keys = reinterpret_cast<const uint64_t*>(their_lists_.data());
  const auto* all_scores = reinterpret_cast<const int64_t*>(their_lists_.data() + at.scores);
  const auto* lengths = reinterpret_cast<const int32_t*>(their_lists_.data() + at.lengths);
  const auto* outside = reinterpret_cast<const uint32_t*>(their_lists_.data() + at.outside);
  for (int64_t i = 0; plan_.scores && i < count; ++i) {
    stats_.scores += static_cast<double>(std::max(0, lengths[i]));
  }

  if (!plain_ && std::any_of(lengths, lengths + count, [](int32_t l) { return l < 0; })) {
    const std::string fault = "it found other bounds than the selection";
    distrust(kScan, options_.device, fault);
    throw WrongKernel("the search kernel " + std::string(kScan) +
                      " is wrong on cuda:" + std::to_string(options_.device) + ": " + fault);
  }
  std::atomic<bool> wrong{false};
  parallel_.run(count, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t listed = lengths[i];
      const uint64_t* keys = all_keys + i * depth;
      const int64_t* scores = plan_.scores ? all_scores + i * depth : nullptr;
      PricedList& list = lists[i];
      list.clear();
      for (int32_t t = 0; t < listed; ++t) {
        const LatentId id = id_of_key(keys[t]);
        const int64_t score = scores ? scores[t] : score_bound(bound_of(order_of_key(keys[t])), id);
        list.items.push_back({id, score, scores != nullptr});
      }
      const uint32_t rest = outside[i];
      list.outside = rest == 0 ? kNothing : grid_.above(bound_of(rest) * unit_);
      const size_t drawn = listed > 0 ? turn_ % static_cast<size_t>(listed) : 0;
      if (listed < 0 ||
          (listed > 0 &&
           !one_is_right(sources[i], bound_of(order_of_key(keys[drawn])), list.items[drawn]))) {
        wrong.store(true, std::memory_order_relaxed);
      }
    }
  });
  if (wrong.load()) {
    throw Error("cuda:" + std::to_string(options_.device) +
                " made wrong scores: the GPU or a kernel is at fault, and pairs could be wrong. "
                "backend 'cpu' can be used");
  }
}

// The largest score on the grid of a latent whose score less its price has this bound.
int64_t PricedCudaSearch::score_bound(float bound, LatentId id) const {
  return grid_.above(bound * unit_) + prices_.of(id);
}

// True if the bound of a listed latent is no less than its exact score, and the device's exact
// score is the host's.
bool PricedCudaSearch::one_is_right(SourceRow source, float bound,
                                    const PricedCandidate& listed) const {
  const int64_t score = grid_.of(scorer_.score(distinct_.row(listed.id), 1.0, source));
  return score <= score_bound(bound, listed.id) && (!listed.exact || score == listed.score);
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
