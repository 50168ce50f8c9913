// DeviceShard: a shard (core/shard.hpp) whose latents lie on a device. Bounds, search and spot
// checks are those of a whole run there (matcher.cu); the lists come to the host instead of being
// resolved on the device.
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/float_mode.hpp"
#include "core/norms.hpp"
#include "core/order.hpp"
#include "cuda/backend_cuda.hpp"
#include "cuda/caps.hpp"
#include "cuda/codes.hpp"
#include "cuda/conflicts.hpp"
#include "cuda/kernel_trust.hpp"
#include "cuda/on_device.hpp"
#include "cuda/phase_clock.hpp"
#include "cuda/placed_rows.hpp"
#include "cuda/plan.hpp"
#include "cuda/scan_kernels.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kDeepest = 256;         // keys of a list: longer ones cost more than searches
constexpr int64_t kGoneBeforeLayout = 8;  // one in so many: then a layout is made anew

dim3 blocks_of(int64_t count) {
  return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads));
}

__global__ void all_free_kernel(int32_t* holder, uint8_t* flags, int32_t* ranks, int32_t latents) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank >= latents) return;
  holder[rank] = kFree;
  flags[rank] = 1;
  ranks[rank] = static_cast<int32_t>(rank);
}

__global__ void ranks_kernel(int32_t* ranks, int32_t latents) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank < latents) ranks[rank] = static_cast<int32_t>(rank);
}

__global__ void take_kernel(const int32_t* taken, int32_t count, int32_t* holder, uint8_t* flags) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  holder[taken[i]] = kTaken;
  flags[taken[i]] = 0;
}

// What the shard is made of, before anything is on the device.
struct Setup {
  Setup(const Rows& latents, Order order, const Options& options, Parallel& parallel)
      : kernel(&scan_kernel(options)), norms(checked_norms(latents, parallel)) {
    std::vector<int32_t> all(norms.size());
    std::iota(all.begin(), all.end(), 0);
    row_of_rank = sorted_by_norm(all, norms, order == Order::norm_desc, parallel);
  }
  const ScanKernel* kernel;
  std::vector<double> norms;  // by row
  std::vector<int32_t> row_of_rank;
};

class DeviceShard final : public Shard {
 public:
  DeviceShard(const Rows& latents, std::span<const int64_t> index, Order order, const Rows& sources,
              const Options& options, Parallel& parallel, Stats& stats)
      : options_(options),
        index_(index),
        sources_(sources),
        descending_(order == Order::norm_desc),
        parallel_(parallel),
        stats_(stats),
        setup_(latents, order, options, parallel),
        preparing_(std::in_place, options.device),
        stream_(options.stream),
        budget_(options.device, options.memory, stream_),
        clock_(stream_),
        free_(latents.count) {
    prepare(latents);
    preparing_.reset();
  }

  void search(std::span<const Query> queries, int64_t count, Key* out) override;
  void remove(std::span<const int64_t> taken) override;

 private:
  void prepare(const Rows& latents);
  void lay_out();
  void place_sources(std::span<const Query> queries);
  void search_window(std::span<const Query> queries, int64_t count, int64_t room, Key* out);
  void flush();
  template <class T>
  void upload(const DeviceArray<T>& to, const std::vector<T>& from, const char* what) {
    check(cudaMemcpyAsync(to.data(), from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice,
                          stream_),
          what);
  }
  template <class T>
  void download(std::vector<T>& to, const DeviceArray<T>& from, const char* what) {
    check(cudaMemcpyAsync(to.data(), from.data(), to.size() * sizeof(T), cudaMemcpyDeviceToHost,
                          stream_),
          what);
  }

  const Options options_;
  const std::span<const int64_t> index_;
  const Rows sources_;
  const bool descending_;
  Parallel& parallel_;
  Stats& stats_;
  Setup setup_;
  std::optional<OnDevice> preparing_;  // until the shard is made
  RunStream stream_;
  Budget budget_;
  PhaseClock clock_;
  std::vector<int32_t> rank_of_row_;
  std::vector<uint8_t> gone_;       // by rank
  std::vector<int32_t> unflushed_;  // ranks that the device was not told of
  int64_t free_, laid_out_ = 0;     // latents; 0: none yet
  uint32_t searched_ = 0;           // sources, for the draw of spot checks
  int32_t window_ = 0, multiprocessors_ = 0;

  std::unique_ptr<PlacedRows> latents_;
  DeviceArray<double> mean_, latent_norms_, source_norms_;
  DeviceArray<int32_t> row_of_rank_, order_, holder_, taken_;
  DeviceArray<uint8_t> flags_;
  DeviceArray<unsigned char> source_rows_;
  std::unique_ptr<Sorter> sorter_;
  Problem problem_{};
  std::unique_ptr<Bounds> bounds_;
  DeviceArray<float> upper_;
  DeviceArray<int32_t> others_;
  DeviceArray<int32_t> list_ranks_, list_counts_, list_whole_;
  DeviceArray<double> list_scores_;
  DeviceArray<Counters> counters_;
};

void DeviceShard::prepare(const Rows& latents) {
  const int64_t m = latents.count, dim = latents.dim;
  rank_of_row_.resize(m);
  gone_.assign(m, 0);
  for (int32_t rank = 0; rank < m; ++rank) rank_of_row_[setup_.row_of_rank[rank]] = rank;
  if (m == 0) return;
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, options_.device),
        "asking for multiprocessors");
  std::string fault;
  if (dim > kCapDims) {
    setup_.kernel = &trusted(*setup_.kernel, options_, dim, multiprocessors_, stream_, fault);
  }
  stats_.instruction_set = setup_.kernel->name;
  const int64_t item = sources_.dtype == DType::f32 ? 4 : 8;
  PlanInput input{m, m, kMostWindow, dim, bytes_of(latents), kMostWindow * dim * item, kDeepest, 0};
  const int64_t least = least_bytes(input);
  require_memory(options_.memory, least);
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for free memory");
  const auto usable = static_cast<int64_t>(available - available / 32);
  input.available = options_.memory > 0 ? std::min(options_.memory, usable) : usable;
  const Plan plan = plan_for(input);
  if (plan.window == 0) {
    throw OutOfMemory("cuda:" + std::to_string(options_.device) +
                      " is out of memory: these latents need at least " + std::to_string(least) +
                      " bytes, and " + std::to_string(usable) + " can be taken");
  }
  window_ = plan.window;
  latents_ = std::make_unique<PlacedRows>(latents, false, plan.latents_mapped, budget_, parallel_,
                                          stream_);
  RowsView view = latents_->view();
  if (latents.mean != nullptr) {
    mean_ = DeviceArray<double>(budget_, dim, "the mean");
    upload(mean_, std::vector<double>(latents.mean, latents.mean + dim), "writing the mean");
    view.mean = mean_.data();
  }
  latent_norms_ = DeviceArray<double>(budget_, m, "norms");
  upload(latent_norms_, setup_.norms, "writing norms");
  row_of_rank_ = DeviceArray<int32_t>(budget_, m, "an order");
  upload(row_of_rank_, setup_.row_of_rank, "writing an order");
  source_rows_ = DeviceArray<unsigned char>(budget_, window_ * dim * item, "sources");
  source_norms_ = DeviceArray<double>(budget_, window_, "norms");
  order_ = DeviceArray<int32_t>(budget_, window_, "an order");
  holder_ = DeviceArray<int32_t>(budget_, m, "holders of latents");
  flags_ = DeviceArray<uint8_t>(budget_, m, "free latents");
  taken_ = DeviceArray<int32_t>(budget_, window_, "a window");
  sorter_ = std::make_unique<Sorter>(budget_, std::max<int64_t>(m, window_));
  problem_ = {view,
              {source_rows_.data(), nullptr, dim, sources_.dtype == DType::f64},
              latent_norms_.data(),
              source_norms_.data(),
              row_of_rank_.data()};
  int64_t groups;
  clock_.begin();
  if (dim <= kCapDims) {
    groups = CapBounds::most_groups(m);
    bounds_ = std::make_unique<CapBounds>(budget_, problem_, static_cast<int32_t>(m), stream_);
  } else {
    groups = CodeBounds::most_groups(m, dim);
    bounds_ = std::make_unique<CodeBounds>(budget_, problem_, static_cast<int32_t>(m), window_,
                                           *setup_.kernel, multiprocessors_, plan.codes_mapped,
                                           parallel_, stream_);
  }
  upper_ = DeviceArray<float>(budget_, window_ * groups, "bounds of a window");
  if (bounds_->named()) {
    others_ = DeviceArray<int32_t>(budget_, window_ * groups, "bounds of a window");
  }
  list_ranks_ = DeviceArray<int32_t>(budget_, window_ * kDeepest, "lists");
  list_scores_ = DeviceArray<double>(budget_, window_ * kDeepest, "lists");
  list_counts_ = DeviceArray<int32_t>(budget_, window_, "lists");
  list_whole_ = DeviceArray<int32_t>(budget_, window_, "lists");
  counters_ = DeviceArray<Counters>(budget_, 1, "counters");
  allow_search();
  check(cudaMemsetAsync(counters_.data(), 0, sizeof(Counters), stream_), "counters");
  launch(all_free_kernel, blocks_of(m), kThreads, 0, stream_, holder_.data(), flags_.data(),
         sorter_->values(), static_cast<int32_t>(m));
  launch(ranks_kernel, blocks_of(window_), kThreads, 0, stream_, order_.data(), window_);
  clock_.end(stats_.seconds.encode);
  check(cudaStreamSynchronize(stream_), "preparing latents");
  clock_.collect();
}

void DeviceShard::lay_out() {
  clock_.begin();
  const auto m = static_cast<int32_t>(gone_.size());
  launch(ranks_kernel, blocks_of(m), kThreads, 0, stream_, sorter_->values(), m);
  sorter_->keep(m, flags_.data(), stream_);
  laid_out_ = free_;
  bounds_->lay_out(static_cast<int32_t>(laid_out_), *sorter_);
  clock_.end(stats_.seconds.encode);
}

void DeviceShard::search(std::span<const Query> queries, int64_t count, Key* out) {
  if (free_ == 0) std::fill(out, out + std::ssize(queries) * count, Key{.index = kNoOthers});
  if (free_ == 0) return;
  const DefaultFloatMode mode;
  const OnDevice here(options_.device);
  flush();
  if (laid_out_ - free_ > laid_out_ / kGoneBeforeLayout || laid_out_ == 0) lay_out();
  const int64_t room = std::min(count, kDeepest);
  for (int64_t at = 0; at < std::ssize(queries); at += window_) {
    const int64_t size = std::min<int64_t>(window_, std::ssize(queries) - at);
    search_window(queries.subspan(at, size), count, room, out + at * count);
  }
}

void DeviceShard::place_sources(std::span<const Query> queries) {
  const int64_t bytes = sources_.dim * (sources_.dtype == DType::f32 ? 4 : 8);
  std::vector<unsigned char> rows(queries.size() * bytes);
  std::vector<double> norms;
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto* from = static_cast<const unsigned char*>(sources_.data);
    std::copy_n(from + queries[i].source_row * bytes, bytes, rows.data() + i * bytes);
    norms.push_back(queries[i].source_norm);
  }
  upload(source_rows_, rows, "writing sources");
  upload(source_norms_, norms, "writing norms");
  check(cudaStreamSynchronize(stream_), "writing sources");  // before the vectors go
}

void DeviceShard::search_window(std::span<const Query> queries, int64_t count, int64_t room,
                                Key* out) {
  const auto size = static_cast<int32_t>(queries.size());
  place_sources(queries);
  clock_.begin();
  bounds_->write_upper({order_.data(), size}, {upper_.data(), others_.data()});
  clock_.end(stats_.seconds.search);
  const SearchTask task{problem_,
                        bounds_->groups(),
                        bounds_->codes(),
                        {upper_.data(), others_.data()},
                        order_.data(),
                        searched_,
                        nullptr,
                        holder_.data(),
                        false,
                        static_cast<int32_t>(room),
                        {list_ranks_.data(), list_scores_.data(), list_counts_.data(),
                         list_whole_.data(), static_cast<int32_t>(room)},
                        counters_.data()};
  cuda::search(task, size, stream_);
  spot_check(task, size, stream_);
  searched_ += static_cast<uint32_t>(size);
  clock_.end(stats_.seconds.decide);
  std::vector<int32_t> ranks(size * room), counts(size), whole(size);
  std::vector<double> scores(size * room);
  std::vector<Counters> seen(1);
  download(ranks, list_ranks_, "reading lists");
  download(scores, list_scores_, "reading lists");
  download(counts, list_counts_, "reading lists");
  download(whole, list_whole_, "reading lists");
  download(seen, counters_, "reading lists");
  check(cudaStreamSynchronize(stream_), "searching a window");
  clock_.collect();
  parallel_.poll_if_due();
  if (seen[0].disagreed) {
    const std::string fault = std::string("the scan kernel ") + setup_.kernel->name +
                              " found other bounds than its codes give";
    if (setup_.kernel != &scan_dp4a) distrust(setup_.kernel->name, options_.device, fault);
    throw WrongKernel(fault);
  }
  for (int32_t i = 0; i < size; ++i) {
    Key* const keys = out + i * count;
    for (int32_t j = 0; j < counts[i]; ++j) {
      const int32_t row = setup_.row_of_rank[ranks[i * room + j]];
      const double norm = setup_.norms[row];
      keys[j] = {scores[i * room + j], descending_ ? -norm : norm, index_[row]};
    }
    if (counts[i] < count) keys[counts[i]].index = whole[i] ? kNoOthers : kUnknown;
    stats_.candidates += counts[i];
  }
}

void DeviceShard::remove(std::span<const int64_t> taken) {
  for (const int64_t latent : taken) {
    const auto at = std::lower_bound(index_.begin(), index_.end(), latent);
    if (at == index_.end() || *at != latent) continue;
    const int32_t rank = rank_of_row_[at - index_.begin()];
    if (gone_[rank]) refuse_taken(latent);
    gone_[rank] = 1;
    unflushed_.push_back(rank);
    --free_;
  }
}

void DeviceShard::flush() {
  for (size_t at = 0; at < unflushed_.size(); at += window_) {
    const size_t size = std::min<size_t>(window_, unflushed_.size() - at);
    const auto from = unflushed_.begin() + static_cast<int64_t>(at);
    const std::vector<int32_t> some(from, from + static_cast<int64_t>(size));
    upload(taken_, some, "writing what was taken");
    launch(take_kernel, blocks_of(static_cast<int64_t>(size)), kThreads, 0, stream_, taken_.data(),
           static_cast<int32_t>(size), holder_.data(), flags_.data());
    if (laid_out_ > 0) bounds_->remove(taken_.data(), static_cast<int32_t>(size));
    check(cudaStreamSynchronize(stream_), "removing latents");  // before the vector goes
  }
  unflushed_.clear();
}

}  // namespace

std::unique_ptr<Shard> make_shard(const Rows& latents, std::span<const int64_t> index, Order order,
                                  const Rows& sources, const Options& options, Parallel& parallel,
                                  Stats& stats) {
  const DefaultFloatMode mode;
  cudaGetLastError();  // a failure that nobody asked about
  return std::make_unique<DeviceShard>(latents, index, order, sources, options, parallel, stats);
}

}  // namespace gtn::cuda
