#include <algorithm>
#include <stdexcept>

#include "cuda/backend_cuda.hpp"
#include "cuda/caps.hpp"
#include "cuda/codes.hpp"
#include "cuda/matcher.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int32_t kSmallestWindow = 32;
constexpr int32_t kDeepest = 256;  // longer lists cost more than smaller windows
// A layout is made anew when this share of it is gone: where scans take long an eighth, where they
// do not half.
constexpr int64_t kManyLatents = 32768;
constexpr int64_t gone_before_layout(int64_t latents) {
  return latents > kManyLatents ? latents / 8 : latents / 2;
}

// Best latents a list should certify: spare ones beyond the cone serve conflicts inside a window.
constexpr int32_t base_depth(int64_t cone) {
  return static_cast<int32_t>(cone + cone / 2 + 3);
}

static_assert(base_depth(Matcher::kMostCone) <= kMostDepth);

dim3 threads(int64_t count) {
  return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads));
}

__global__ void all_free_kernel(int32_t* holder, int32_t latents) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank < latents) holder[rank] = kFree;
}

__global__ void free_flags_kernel(const int32_t* holder, int32_t latents, int32_t* ranks,
                                  uint8_t* flags) {
  const int64_t rank = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (rank >= latents) return;
  ranks[rank] = static_cast<int32_t>(rank);
  flags[rank] = holder[rank] == kFree;
}

__global__ void new_window_kernel(int32_t* choices, int32_t count, WindowState* state) {
  const int64_t s = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (s < count) choices[s] = -1;
  if (s == 0) {
    state->settled = 0;
    state->broken = 0;
  }
}

struct ReplayTask {
  Problem problem;
  const int32_t* order;
  const int32_t* rows;
  int32_t count;
  const int32_t* rank_of_row;
  int32_t* holder;
  int32_t* assignment;
  double* cosine;
  int32_t* first_fault;
};

// A latent that is named twice goes to the first.
__global__ void claim_kernel(ReplayTask t) {
  const int64_t p = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (p >= t.count || t.rows[p] < 0) return;
  const int32_t rank = t.rank_of_row[t.rows[p]];
  if (rank >= 0) atomicMin(&t.holder[rank], static_cast<int32_t>(p));
}

// kDotLanes lanes a source.
__global__ void replay_kernel(ReplayTask t) {
  const auto p = static_cast<int32_t>((int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kDotLanes);
  const bool live = p < t.count;
  const int32_t row = live ? t.rows[p] : -1;
  const int32_t rank = row >= 0 ? t.rank_of_row[row] : -1;
  const int32_t source = t.order[live ? p : 0];
  const double dot =
      dot_by_lanes(t.problem.latents, rank >= 0 ? row : 0, t.problem.sources, source);
  if (!live || threadIdx.x % kDotLanes != 0) return;
  if (rank < 0 || atomicCAS(&t.holder[rank], p, kTaken) != p) {
    atomicMin(t.first_fault, p);
    return;
  }
  t.assignment[source] = row;
  t.cosine[source] = dot / t.problem.latent_norms[row] / t.problem.source_norms[source];
}

}  // namespace

int32_t Matcher::list_room(int64_t cone) {
  return std::max(kDeepest, base_depth(cone));
}

Matcher::Matcher(const Resources& resources, const Job& job, Stats& stats)
    : r_(resources),
      job_(job),
      stats_(stats),
      clock_(resources.stream),
      depth_(base_depth(job.cone)),
      window_limit_(resources.window) {
  const int64_t window = resources.window;
  const int32_t room = list_room(job.cone);
  Budget& budget = r_.budget;
  holder_ = DeviceArray<int32_t>(budget, job.latents, "holders of latents");
  free_flags_ = DeviceArray<uint8_t>(budget, job.latents, "free latents");
  choices_ = DeviceArray<int32_t>(budget, window, "a window");
  entries_ = DeviceArray<int32_t>(budget, window, "a window");
  hungry_ = DeviceArray<int32_t>(budget, window, "a window");
  visited_ = DeviceArray<int32_t>(budget, window, "a window");
  list_ranks_ = DeviceArray<int32_t>(budget, window * room, "lists");
  list_scores_ = DeviceArray<double>(budget, window * room, "lists");
  list_counts_ = DeviceArray<int32_t>(budget, window, "lists");
  list_whole_ = DeviceArray<int32_t>(budget, window, "lists");
  state_ = DeviceArray<WindowState>(budget, 1, "a window");
  lists_ = {list_ranks_.data(), list_scores_.data(), list_counts_.data(), list_whole_.data(), room};
  int64_t groups;
  clock_.begin();
  if (job.problem.latents.dim <= kCapDims) {
    groups = CapBounds::most_groups(job.latents);
    bounds_ = std::make_unique<CapBounds>(budget, job.problem, job.latents, r_.stream);
  } else {
    groups = CodeBounds::most_groups(job.latents, job.problem.latents.dim);
    bounds_ =
        std::make_unique<CodeBounds>(budget, job.problem, job.latents, r_.window, r_.kernel,
                                     r_.multiprocessors, r_.codes_mapped, r_.parallel, r_.stream);
  }
  upper_ = DeviceArray<float>(budget, window * groups, "bounds of a window");
  if (bounds_->named()) {
    others_ = DeviceArray<int32_t>(budget, window * groups, "bounds of a window");
  }
  allow_search();
  check(cudaMemsetAsync(state_.data(), 0, sizeof(WindowState), r_.stream), "counters");
  launch(all_free_kernel, threads(job.latents), kThreads, 0, r_.stream, holder_.data(),
         job.latents);
  clock_.end(stats_.seconds.encode);
}

int64_t Matcher::replay(std::span<const int32_t> rows, const int32_t* rank_of_row) {
  const auto count = static_cast<int32_t>(rows.size());
  if (count == 0) return -1;
  const DeviceArray<int32_t> there(r_.budget, count, "an earlier run");
  const DeviceArray<int32_t> fault(r_.budget, 1, "an earlier run");
  int32_t first_fault = INT32_MAX;
  check(cudaMemcpyAsync(there.data(), rows.data(), rows.size_bytes(), cudaMemcpyHostToDevice,
                        r_.stream),
        "writing what an earlier run took");
  check(cudaMemcpyAsync(fault.data(), &first_fault, sizeof(int32_t), cudaMemcpyHostToDevice,
                        r_.stream),
        "writing what an earlier run took");
  const ReplayTask task{job_.problem,   job_.order,      there.data(), count,       rank_of_row,
                        holder_.data(), job_.assignment, job_.cosine,  fault.data()};
  launch(claim_kernel, threads(count), kThreads, 0, r_.stream, task);
  launch(replay_kernel, threads(int64_t{count} * kDotLanes), kThreads, 0, r_.stream, task);
  check(cudaMemcpyAsync(&first_fault, fault.data(), sizeof(int32_t), cudaMemcpyDeviceToHost,
                        r_.stream),
        "reading what an earlier run took");
  check(cudaStreamSynchronize(r_.stream), "replaying an earlier run");
  if (first_fault != INT32_MAX) return first_fault;
  position_ = count;
  return -1;
}

int32_t Matcher::window_size() const {
  // Conflicts grow with the share of the free latents that a window takes.
  const int64_t free = job_.latents - position_;
  const int64_t size =
      std::clamp<int64_t>(free / 8, std::min(kSmallestWindow, window_limit_), window_limit_);
  return static_cast<int32_t>(std::min(size, job_.sources - position_));
}

void Matcher::run(const OnWindow& on_window) {
  while (position_ < job_.sources) {
    const int64_t free = job_.latents - position_;
    if (laid_out_ == 0 || laid_out_ - free > gone_before_layout(laid_out_)) lay_out();
    const int32_t size = window_size();
    match_window(size);
    deliver(on_window);  // the window before
    pending_position_ = position_;
    pending_ = size;
    clock_.begin();
    const CommitTask task{job_.problem,           lists_,          size,
                          job_.order + position_, choices_.data(), entries_.data(),
                          job_.assignment,        job_.cosine,     visited_.data()};
    commit(task, r_.stream);
    bounds_->remove(choices_.data(), size);
    check(cudaMemcpyAsync(r_.host.rows.data(), visited_.data(), static_cast<size_t>(size) * 4,
                          cudaMemcpyDeviceToHost, r_.stream),
          "reading a window");
    clock_.end(stats_.seconds.remove);
    position_ += size;
    ++stats_.windows;
  }
  wait();
  deliver(on_window);
  const Counters& counters = r_.host.seen.data()->counters;
  stats_.rescored += static_cast<int64_t>(counters.rescored);
  stats_.candidates += static_cast<int64_t>(counters.candidates);
}

void Matcher::lay_out() {
  clock_.begin();
  launch(free_flags_kernel, threads(job_.latents), kThreads, 0, r_.stream, holder_.data(),
         job_.latents, r_.sorter.values(), free_flags_.data());
  r_.sorter.keep(job_.latents, free_flags_.data(), r_.stream);
  laid_out_ = job_.latents - position_;
  bounds_->lay_out(static_cast<int32_t>(laid_out_), r_.sorter);
  clock_.end(stats_.seconds.encode);
}

void Matcher::match_window(int32_t size) {
  clock_.begin();
  launch(new_window_kernel, threads(size), kThreads, 0, r_.stream, choices_.data(), size,
         state_.data());
  bounds_->write_upper({job_.order + position_, size}, {upper_.data(), others_.data()});
  clock_.end(stats_.seconds.search);
  search(size, false);
  resolve(size);
  stats_.conflicts += r_.host.seen.data()->conflicts;
  int32_t searched_again = 0;
  while (r_.host.seen.data()->hungry > 0) {
    const int32_t hungry = r_.host.seen.data()->hungry;
    searched_again += hungry;
    // A list that ran out was too short: the next one is longer.
    if (hungry > 1 + size / 64) depth_ = std::min(2 * depth_, lists_.room);
    search(hungry, true);
    resolve(size);
  }
  stats_.rescans += searched_again;
  adapt(size, searched_again);
}

void Matcher::search(int32_t count, bool hungry) {
  clock_.begin();
  const SearchTask task{job_.problem,
                        bounds_->groups(),
                        bounds_->codes(),
                        {upper_.data(), others_.data()},
                        job_.order + position_,
                        position_,
                        hungry ? hungry_.data() : nullptr,
                        holder_.data(),
                        job_.cone == 1,
                        depth_,
                        lists_,
                        &state_.data()->counters};
  cuda::search(task, count, r_.stream);
  if (!hungry) spot_check(task, count, r_.stream);
  clock_.end(stats_.seconds.decide);
}

void Matcher::resolve(int32_t size) {
  clock_.begin();
  const ResolveTask task{lists_,
                         size,
                         static_cast<int32_t>(job_.cone),
                         job_.latents - position_,
                         choices_.data(),
                         entries_.data(),
                         holder_.data(),
                         hungry_.data(),
                         state_.data()};
  cuda::resolve(task, r_.stream);
  clock_.end(stats_.seconds.walk);
  wait();
  const WindowState& state = *r_.host.seen.data();
  if (state.counters.disagreed) {
    throw WrongKernel(std::string("the scan kernel ") + r_.kernel.name +
                      " found other bounds than its codes give");
  }
  if (state.broken) throw std::logic_error("a complete list of free latents held none");
}

void Matcher::wait() {
  check(cudaMemcpyAsync(r_.host.seen.data(), state_.data(), sizeof(WindowState),
                        cudaMemcpyDeviceToHost, r_.stream),
        "reading a window");
  check(cudaStreamSynchronize(r_.stream), "matching a window");
  clock_.collect();
  r_.parallel.poll_if_due();
}

void Matcher::deliver(const OnWindow& on_window) {
  if (pending_ == 0) return;
  on_window(pending_position_, {r_.host.rows.data(), static_cast<size_t>(pending_)});
  pending_ = 0;
}

// Sources that ask for the same latents (equal sources, hubs) exhaust their lists inside a window:
// longer lists, then smaller windows, until that is rare. Both relax only when conflicts do.
void Matcher::adapt(int32_t size, int32_t searched_again) {
  const int32_t base = base_depth(job_.cone);
  if (searched_again > 1 + size / 64) {
    if (depth_ == lists_.room) {
      window_limit_ =
          std::max(std::min(kSmallestWindow, r_.window), std::min(window_limit_, size) / 2);
    }
    return;
  }
  const int32_t deepest = r_.host.seen.data()->deepest;
  const int32_t needed =
      std::max(base, static_cast<int32_t>(job_.cone) + deepest + deepest / 2 + 1);
  if (needed < depth_) depth_ -= std::max(1, (depth_ - needed) / 4);
  window_limit_ = std::min(r_.window, window_limit_ + std::max(1, window_limit_ / 8));
}

}  // namespace gtn::cuda
