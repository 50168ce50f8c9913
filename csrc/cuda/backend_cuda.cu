// A whole run: rows go to the device, norms and orders are computed there, a Matcher decides each
// group, and results come back to the host.
#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/float_mode.hpp"
#include "core/problem.hpp"
#include "cuda/backend_cuda.hpp"
#include "cuda/caps.hpp"
#include "cuda/kernel_trust.hpp"
#include "cuda/matcher.hpp"
#include "cuda/norms.hpp"
#include "cuda/on_device.hpp"
#include "cuda/placed_rows.hpp"
#include "cuda/plan.hpp"
#include "cuda/scan_kernels.hpp"

namespace gtn::cuda {
namespace {

constexpr int64_t kMostDim = 131072;  // integer dot products of longer codes leave int32
constexpr int kThreads = 256;

__global__ void ranks_kernel(const int32_t* row_of_rank, int32_t latents, int32_t* rank_of_row) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank < latents) rank_of_row[row_of_rank[rank]] = static_cast<int32_t>(rank);
}

// Names what a plan leaves in the host's memory; empty if nothing.
std::string mapped_of(const Plan& plan) {
  std::string names;
  for (const auto& [mapped, name] : {std::pair{plan.sources_mapped, "sources"},
                                     {plan.latents_mapped, "latents"},
                                     {plan.codes_mapped, "codes"}}) {
    if (mapped) names += (names.empty() ? "" : " and ") + std::string(name);
  }
  return names;
}

class Run {
 public:
  Run(const MatchInput& input, const Options& options, const MatchOutput& output, int64_t& done,
      Poll poll)
      : in_(input),
        options_(options),
        kernel_(&scan_kernel(options)),
        out_(output),
        done_(done),
        parallel_(1, poll),
        on_device_(options.device),
        stream_(options.stream),
        budget_(options.device, options.memory, stream_),
        clock_(stream_) {}

  DeviceStats run();

 private:
  Plan plan(int64_t latents);
  void warn(const std::string& text) const;
  void prepare(const Plan& plan, int64_t most_latents);
  [[noreturn]] void refuse_rows();
  void run_group(const GroupRows& rows, int64_t offset, const Plan& plan);
  int32_t* order_of(const std::vector<int32_t>& rows, int64_t all, const double* norms,
                    bool descending, DeviceArray<int32_t>& order);
  void read_results();

  const MatchInput& in_;
  const Options& options_;
  const ScanKernel* kernel_;
  const MatchOutput& out_;
  int64_t& done_;
  Parallel parallel_;
  OnDevice on_device_;
  RunStream stream_;
  Budget budget_;
  PhaseClock clock_;
  DeviceStats stats_;
  int multiprocessors_ = 0;

  std::unique_ptr<PlacedRows> latents_, sources_;
  DeviceArray<double> mean_, latent_norms_, source_norms_;
  std::unique_ptr<Sorter> sorter_;
  std::unique_ptr<HostRoom> host_;
  DeviceArray<int32_t> assignment_;
  DeviceArray<double> cosine_;
  Problem problem_{};
};

Plan Run::plan(int64_t latents) {
  PlanInput input{latents,
                  in_.latents.count,
                  in_.sources.count,
                  in_.latents.dim,
                  options_.latents_on_device ? 0 : bytes_of(in_.latents),
                  options_.sources_on_device ? 0 : bytes_of(in_.sources),
                  Matcher::list_room(in_.cone),
                  0};
  const int64_t least = least_bytes(input);
  require_memory(options_.memory, least);
  for (;;) {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    const auto usable = static_cast<int64_t>(free - free / 32);
    const bool limited = options_.memory > 0 && options_.memory <= usable;
    input.available = limited ? options_.memory : usable;
    const Plan plan = plan_for(input);
    const std::string mapped = mapped_of(plan);
    if (limited || (plan.window > 0 && mapped.empty())) return plan;
    // What others have cached, such as torch after training, counts as taken.
    if (!stats_.cache_freed && options_.free_cached && options_.free_cached()) {
      stats_.cache_freed = true;
      continue;
    }
    const std::string device = "cuda:" + std::to_string(options_.device);
    if (plan.window == 0) {
      throw OutOfMemory(device + " is out of memory: this input needs at least " +
                        std::to_string(least) + " bytes, but of its " + std::to_string(total) +
                        " only " + std::to_string(usable) + " can be taken");
    }
    warn(mapped + " stay in the host's memory and are read through the bus, because only " +
         std::to_string(usable) + " of the " + std::to_string(total) + " bytes of " + device +
         " can be taken: this run may take 10 to 50 times as long");
    return plan;
  }
}

void Run::warn(const std::string& text) const {
  if (options_.warn) options_.warn(text);
}

DeviceStats Run::run() {
  {
    PhaseTimer total(stats_.seconds.total);
    stats_.threads = parallel_.threads();
    if (in_.latents.dim > kMostDim) {
      throw std::invalid_argument("latents must have at most " + std::to_string(kMostDim) +
                                  " columns for backend 'cuda', got " +
                                  std::to_string(in_.latents.dim));
    }
    if (in_.cone > Matcher::kMostCone) {
      throw std::invalid_argument("cone must be at most " + std::to_string(Matcher::kMostCone) +
                                  " for backend 'cuda', got " + std::to_string(in_.cone) +
                                  "; backend 'cpu' takes any");
    }
    const std::vector<GroupRows> groups = rows_of_groups(in_);
    size_t most = 0;
    for (const GroupRows& g : groups) most = std::max(most, g.latents.size());
    const Plan where = plan(static_cast<int64_t>(most));
    check(
        cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, options_.device),
        "asking for multiprocessors");
    // Before the memory is reserved that its self-test needs. Nothing is scanned in few dimensions.
    if (in_.latents.dim > kCapDims) {
      kernel_ = &trusted(*kernel_, options_, in_.latents.dim, multiprocessors_, stream_,
                         stats_.kernel_fault);
    }
    budget_.reserve(where.bytes);
    stats_.instruction_set = kernel_->name;
    prepare(where, static_cast<int64_t>(most));
    int64_t offset = 0;
    try {
      for (const GroupRows& g : groups) {
        run_group(g, offset, where);
        offset += static_cast<int64_t>(g.sources.size());
      }
    } catch (const WrongKernel& error) {
      if (kernel_ != &scan_dp4a) distrust(kernel_->name, options_.device, error.what());
      throw;
    }
    read_results();
    stats_.latents_mapped = where.latents_mapped;
    stats_.sources_mapped = where.sources_mapped;
    stats_.codes_mapped = where.codes_mapped;
  }
  stats_.distinct = -1;
  stats_.work_bytes = budget_.most_taken();
  return stats_;
}

void Run::prepare(const Plan& where, int64_t most_latents) {
  const int64_t m = in_.latents.count, n = in_.sources.count, dim = in_.latents.dim;
  clock_.begin();
  latents_ = std::make_unique<PlacedRows>(in_.latents, options_.latents_on_device,
                                          where.latents_mapped, budget_, parallel_, stream_);
  sources_ = std::make_unique<PlacedRows>(in_.sources, options_.sources_on_device,
                                          where.sources_mapped, budget_, parallel_, stream_);
  latent_norms_ = DeviceArray<double>(budget_, m, "norms");
  source_norms_ = DeviceArray<double>(budget_, n, "norms");
  const DeviceArray<int32_t> undefined(budget_, 1, "norms");
  check(cudaMemsetAsync(undefined.data(), 0, sizeof(int32_t), stream_), "norms");
  assignment_ = DeviceArray<int32_t>(budget_, n, "assignment");
  cosine_ = DeviceArray<double>(budget_, n, "cosine");
  sorter_ = std::make_unique<Sorter>(budget_, std::max(most_latents, n));
  host_ = std::make_unique<HostRoom>(where.window, stream_);
  RowsView latents = latents_->view();
  DeviceArray<double> partial;  // the last, so that it leaves no gap
  if (in_.center) {
    mean_ = DeviceArray<double>(budget_, dim, "the mean");
    partial = DeviceArray<double>(budget_, (m + kMeanBlock - 1) / kMeanBlock * dim, "the mean");
    write_mean(latents, m, partial.data(), mean_.data(), undefined.data(), stream_);
    latents.mean = mean_.data();
  }
  write_norms(latents, m, latent_norms_.data(), undefined.data(), stream_);
  write_norms(sources_->view(), n, source_norms_.data(), undefined.data(), stream_);
  clock_.end(stats_.seconds.norms);
  int32_t fault = 0;
  check(cudaMemcpyAsync(&fault, undefined.data(), sizeof(fault), cudaMemcpyDeviceToHost, stream_),
        "reading norms");
  check(cudaStreamSynchronize(stream_), "computing norms");
  clock_.collect();
  parallel_.poll_if_due();
  if (fault) refuse_rows();
  problem_ = {latents, sources_->view(), latent_norms_.data(), source_norms_.data(), nullptr};
}

// The host has the words for what is wrong with rows.
void Run::refuse_rows() {
  std::vector<unsigned char> latents, sources;
  MatchInput on_host = in_;
  const auto fetch = [&](Rows& rows, std::vector<unsigned char>& copy) {
    copy.resize(static_cast<size_t>(bytes_of(rows)));
    check(cudaMemcpyAsync(copy.data(), rows.data, copy.size(), cudaMemcpyDeviceToHost, stream_),
          "reading rows");
    check(cudaStreamSynchronize(stream_), "reading rows");
    rows.data = copy.data();
  };
  if (options_.latents_on_device) fetch(on_host.latents, latents);
  if (options_.sources_on_device) fetch(on_host.sources, sources);
  Stats stats;
  const gtn::Problem throws(on_host, parallel_, stats);
  throw std::logic_error("the device finds rows undefined that the host does not");
}

// The order of a group's rows by norm, or as they are.
int32_t* Run::order_of(const std::vector<int32_t>& rows, int64_t all, const double* norms,
                       bool descending, DeviceArray<int32_t>& order) {
  const auto count = static_cast<int64_t>(rows.size());
  order = DeviceArray<int32_t>(budget_, count, "an order");
  const bool part = count < all;
  if (part || !norms) {
    check(cudaMemcpyAsync(order.data(), rows.data(), rows.size() * sizeof(int32_t),
                          cudaMemcpyHostToDevice, stream_),
          "writing an order");
  }
  if (norms) {
    write_order(part ? order.data() : nullptr, count, norms, descending, *sorter_, order.data(),
                stream_);
  }
  return order.data();
}

void Run::run_group(const GroupRows& rows, int64_t offset, const Plan& where) {
  const auto n = static_cast<int64_t>(rows.sources.size());
  const auto m = static_cast<int32_t>(rows.latents.size());
  const bool descending = in_.order == Order::norm_desc;
  DeviceArray<int32_t> order, row_of_rank;
  clock_.begin();
  order_of(rows.sources, in_.sources.count,
           in_.order == Order::index ? nullptr : source_norms_.data(), descending, order);
  problem_.row_of_rank =
      order_of(rows.latents, in_.latents.count, latent_norms_.data(), descending, row_of_rank);
  clock_.end(stats_.seconds.order);
  check(cudaStreamSynchronize(stream_), "sorting by norm");
  clock_.collect();
  parallel_.poll_if_due();

  const Resources resources{budget_,      *sorter_,           *host_,    *kernel_, multiprocessors_,
                            where.window, where.codes_mapped, parallel_, stream_};
  const Job job{
      problem_,      m, order.data(), static_cast<int32_t>(n), in_.cone, assignment_.data(),
      cosine_.data()};
  Matcher matcher(resources, job, stats_);
  const int64_t start = std::clamp<int64_t>(in_.start - offset, 0, n);
  if (start > 0) {
    const DeviceArray<int32_t> rank_of_row(budget_, in_.latents.count, "an earlier run");
    check(cudaMemsetAsync(rank_of_row.data(), 0xff,
                          static_cast<size_t>(in_.latents.count) * sizeof(int32_t), stream_),
          "an earlier run");
    launch(ranks_kernel, dim3(static_cast<unsigned>((m + kThreads - 1) / kThreads)), kThreads, 0,
           stream_, row_of_rank.data(), m, rank_of_row.data());
    std::vector<int32_t> taken(static_cast<size_t>(start));
    for (int64_t p = 0; p < start; ++p) {
      const int64_t row = out_.visited[offset + p];
      const bool known = row >= 0 && row < in_.latents.count;
      taken[static_cast<size_t>(p)] = known ? static_cast<int32_t>(row) : -1;
    }
    const int64_t fault = matcher.replay(taken, rank_of_row.data());
    if (fault >= 0) refuse_visited(offset + fault, out_.visited[offset + fault]);
  }
  matcher.run([&](int64_t position, std::span<const int32_t> latents) {
    std::copy(latents.begin(), latents.end(), out_.visited + offset + position);
    done_ = offset + position + static_cast<int64_t>(latents.size());
  });
  stats_.scan_products += matcher.scan_products();
  const char* arithmetic = matcher.arithmetic();
  if (stats_.arithmetic.find(arithmetic) == std::string::npos) {
    if (!stats_.arithmetic.empty()) stats_.arithmetic += '+';
    stats_.arithmetic += arithmetic;
  }
}

void Run::read_results() {
  const auto n = static_cast<size_t>(in_.sources.count);
  std::vector<int32_t> rows(n);
  check(cudaMemcpyAsync(rows.data(), assignment_.data(), n * sizeof(int32_t),
                        cudaMemcpyDeviceToHost, stream_),
        "reading the assignment");
  check(cudaMemcpyAsync(out_.cosine, cosine_.data(), n * sizeof(double), cudaMemcpyDeviceToHost,
                        stream_),
        "reading cosines");
  check(cudaStreamSynchronize(stream_), "reading the assignment");
  std::copy(rows.begin(), rows.end(), out_.assignment);
}

}  // namespace

DeviceStats match_rows(const MatchInput& input, const Options& options, const MatchOutput& output,
                       int64_t& done, Poll poll) {
  const DefaultFloatMode mode;
  cudaGetLastError();  // a failure that nobody asked about: CUB would take it for one of its own
  done = input.start;
  return Run(input, options, output, done, poll).run();
}

}  // namespace gtn::cuda
