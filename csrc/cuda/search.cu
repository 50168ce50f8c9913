// A block searches for a source, a warp opens a group. Afterwards a warp checks a group that stayed
// closed.
#include <cmath>

#include "cuda/search.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMembersPerLane = kMostMembers / kWarp;
constexpr int kDotGroups = kThreads / kDotLanes;  // exact scores at a time
constexpr int kSure = 8;  // members a warp names whose scores have the largest lower bounds

// (score, rank) in the order of preference.
__device__ bool better(double score, int32_t rank, double other, int32_t other_rank) {
  return score > other || (score == other && rank < other_rank);
}

// A group and its bound, in the order of opening.
struct Next {
  float upper;
  int32_t group;  // -1: none
};
__device__ bool before(const Next& a, const Next& b) {
  return a.upper > b.upper || (a.upper == b.upper && a.group < b.group);
}
__device__ Next first_of_warp(Next n) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const Next other{__shfl_xor_sync(kAllLanes, n.upper, step),
                     __shfl_xor_sync(kAllLanes, n.group, step)};
    if (other.group >= 0 && (n.group < 0 || before(other, n))) n = other;
  }
  return n;
}

// The candidates of a block, in its shared memory: sorted up to `sorted`, new ones behind.
struct Candidates {
  double* scores;         // [depth + kWarps * kMostMembers]
  double* sorted_scores;  // [depth]
  int32_t* ranks;
  int32_t* sorted_ranks;

  __device__ Candidates(unsigned char* memory, int32_t depth) {
    const int32_t room = depth + kWarps * kMostMembers;
    scores = reinterpret_cast<double*>(memory);
    sorted_scores = scores + room;
    ranks = reinterpret_cast<int32_t*>(sorted_scores + depth);
    sorted_ranks = ranks + room;
  }
};

size_t shared_bytes(int32_t depth) {
  return (static_cast<size_t>(2 * depth) + kWarps * kMostMembers) *
         (sizeof(double) + sizeof(int32_t));
}

// Best score and rank that the block has found for its source.
struct Threshold {
  double score;  // no latent of a lower score matters
  int32_t rank;  // nor one of this score and a higher rank
};

__device__ uint32_t scattered(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

__device__ int32_t dot_of_codes(const int8_t* a, const int8_t* b, int32_t stride) {
  int32_t sum = 0;
  for (int32_t k = 0; k < stride; k += 16) {
    const int4 u = *reinterpret_cast<const int4*>(a + k);
    const int4 v = *reinterpret_cast<const int4*>(b + k);
    sum = __dp4a(u.x, v.x, sum);
    sum = __dp4a(u.y, v.y, sum);
    sum = __dp4a(u.z, v.z, sum);
    sum = __dp4a(u.w, v.w, sum);
  }
  return sum;
}

// The members of a group that a lane looks at.
struct Members {
  double upper[kMembersPerLane];  // of the score; -infinity: none
  double lower[kMembersPerLane];
  int32_t rank[kMembersPerLane];  // -1: none
};

class Search {
 public:
  __device__ Search(const SearchTask& task, int32_t at)
      : t_(task),
        at_(at),
        row_(task.sources[at]),
        norm_(task.problem.source_norms[row_]),
        lane_(static_cast<int32_t>(threadIdx.x) % kWarp),
        warp_(static_cast<int32_t>(threadIdx.x) / kWarp),
        row_of_upper_(task.upper + int64_t{at} * task.groups.count) {}

  __device__ double score_of(float cosine) const { return static_cast<double>(cosine) * norm_; }

  // This lane's groups are those of its column in every stretch of kThreads. Its best one behind
  // `after`.
  __device__ Next best_of_column() const {
    Next best{0.0f, -1};
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < t_.groups.count; g += kThreads) {
      consider(g, best);
    }
    return best;
  }
  // The same by all lanes of the warp, for the column of `owner`.
  __device__ Next best_behind(Next after, int owner) const {
    Next best{0.0f, -1};
    const int32_t column = warp_ * kWarp + owner;
    for (int32_t g = column + lane_ * kThreads; g < t_.groups.count; g += kWarp * kThreads) {
      const Next n{row_of_upper_[g], g};
      if (before(after, n)) consider(g, best);
    }
    return first_of_warp(best);
  }

  __device__ bool hopeful(const Next& n, const Threshold& threshold) const {
    if (n.group < 0) return false;
    const double score = score_of(n.upper);
    return score > threshold.score ||
           (score == threshold.score && t_.groups.low_rank[n.group] < threshold.rank);
  }

  // Fills the lane's members of a group.
  template <bool Codes>
  __device__ void open(const Next& n, Members& members) const {
    int32_t largest = INT32_MIN;
    for (int i = 0; i < kMembersPerLane; ++i) {
      members.upper[i] = members.lower[i] = -INFINITY;
      members.rank[i] = -1;
      const int32_t m = lane_ + i * kWarp;
      if (m >= t_.groups.members) continue;
      const int32_t rank = t_.groups.ranks[int64_t{n.group} * t_.groups.members + m];
      const bool out = rank < 0 || lost(rank);
      if constexpr (Codes) {
        const CodeView& c = t_.codes;
        const int64_t slot = c.slots.slot_of(n.group, m);
        const int32_t sum = dot_of_codes(c.latent_codes + slot * c.stride,
                                         c.source_codes + int64_t{at_} * c.stride, c.stride);
        largest = sum > largest ? sum : largest;
        if (out) continue;
        const GroupCode& group = c.groups[n.group];
        const SourceCode& source = c.sources[at_];
        const float base = c.base[int64_t{group.cell} * c.source_rows + at_];
        const float upper = upper_cosine(sum, base, group, source);
        members.upper[i] = score_of(upper);
        // The bound holds on both sides; the rest is for what float32 rounded up.
        const double error = static_cast<double>(source.coded_norm) * group.residual +
                             static_cast<double>(source.residual) * group.radius;
        members.lower[i] = (upper - 2.00001 * error - 2e-6) * norm_;
      } else {
        if (out) continue;
        members.upper[i] = members.lower[i] = exact(rank);
      }
      members.rank[i] = rank;
    }
    if constexpr (Codes) verify(n, largest);
  }

  // The contract's score by one thread: for few dimensions.
  __device__ double exact(int32_t rank) const {
    const Problem& p = t_.problem;
    const int32_t row = p.row_of_rank[rank];
    return dot(RowView{p.latents, row}, RowView{p.sources, row_}, p.latents.dim) /
           p.latent_norms[row];
  }
  // The same by kDotLanes lanes, all lanes of the warp together.
  __device__ double exact_by_lanes(int32_t rank) const {
    const Problem& p = t_.problem;
    const int32_t row = p.row_of_rank[rank];
    return dot_by_lanes(p.latents, row, p.sources, row_) / p.latent_norms[row];
  }

  // Verifies a pseudo-random group that the threshold kept closed: a bound that is too low hides
  // its members, and no opened group tells. By one warp.
  __device__ void spot_check(const Threshold& threshold) const {
    const int32_t groups = t_.groups.count;
    const auto drawn = static_cast<int32_t>(scattered(static_cast<uint32_t>(t_.first + at_)) %
                                            static_cast<uint32_t>(groups));
    const auto g = static_cast<int32_t>((int64_t{drawn} + lane_) % groups);
    const unsigned closed = __ballot_sync(kAllLanes, !hopeful({row_of_upper_[g], g}, threshold));
    if (closed == 0) return;
    const int32_t checked = __shfl_sync(kAllLanes, g, __ffs(static_cast<int>(closed)) - 1);
    const CodeView& c = t_.codes;
    int32_t largest = INT32_MIN;
    for (int32_t m = lane_; m < t_.groups.members; m += kWarp) {
      const int32_t sum = dot_of_codes(c.latent_codes + c.slots.slot_of(checked, m) * c.stride,
                                       c.source_codes + int64_t{at_} * c.stride, c.stride);
      largest = sum > largest ? sum : largest;
    }
    verify({row_of_upper_[checked], checked}, largest);
  }

 private:
  __device__ void consider(int32_t g, Next& best) const {
    const Next n{row_of_upper_[g], g};
    if (n.upper > -INFINITY && (best.group < 0 || before(n, best))) best = n;
  }
  __device__ bool lost(int32_t rank) const { return t_.holder[rank] < (t_.pass_held ? at_ : 0); }
  // The scan must have found what the codes give, to the bit: the bound of everything rests on it.
  __device__ void verify(const Next& n, int32_t largest) const {
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const int32_t other = __shfl_xor_sync(kAllLanes, largest, step);
      largest = other > largest ? other : largest;
    }
    const CodeView& c = t_.codes;
    const GroupCode& group = c.groups[n.group];
    const float base = c.base[int64_t{group.cell} * c.source_rows + at_];
    const float expected = upper_cosine(largest, base, group, c.sources[at_]);
    if (__float_as_int(expected) != __float_as_int(n.upper)) {
      atomicExch(&t_.counters->disagreed, 1);
    }
  }

  const SearchTask& t_;
  int32_t at_;
  int32_t row_;
  double norm_;
  int32_t lane_, warp_;
  const float* row_of_upper_;
};

// Writes the largest lower bounds of a warp's members, -infinity where there are fewer.
__device__ void name_sure(const Members& members, int32_t depth, double* sure) {
  const int lane = threadIdx.x % kWarp;
  bool named[kMembersPerLane] = {};
  for (int n = 0; n < kSure && n < depth; ++n) {
    double mine = -INFINITY;
    for (int i = 0; i < kMembersPerLane; ++i) {
      if (!named[i] && members.lower[i] > mine) mine = members.lower[i];
    }
    double most = mine;
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const double other = __shfl_xor_sync(kAllLanes, most, step);
      most = other > most ? other : most;
    }
    const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, mine == most))) - 1;
    if (lane != owner) continue;
    sure[n] = most;
    bool gone = false;
    for (int i = 0; i < kMembersPerLane; ++i) {
      if (gone || named[i] || members.lower[i] != most) continue;
      named[i] = gone = true;
    }
  }
}

// The depth-th largest of what the warps named goes to *least.
__device__ void find_least(const double* sure, int32_t depth, double* least) {
  const int here = depth < kSure ? depth : kSure;  // of each warp
  const auto i = static_cast<int>(threadIdx.x);
  if (i >= kWarps * kSure || i % kSure >= here) return;
  int32_t ahead = 0;
  for (int j = 0; j < kWarps * kSure; ++j) {
    if (j % kSure >= here) continue;
    ahead += sure[j] > sure[i] || (sure[j] == sure[i] && j < i);
  }
  if (ahead == depth - 1) *least = sure[i];
}

// Keeps the best `depth` of `count` candidates, sorted by counting those that are better.
__device__ int32_t keep_best(Candidates& c, int32_t count, int32_t depth) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    int32_t ahead = 0;
    for (int32_t j = 0; j < count && ahead < depth; ++j) {
      ahead += better(c.scores[j], c.ranks[j], c.scores[i], c.ranks[i]);
    }
    if (ahead < depth) {
      c.sorted_scores[ahead] = c.scores[i];
      c.sorted_ranks[ahead] = c.ranks[i];
    }
  }
  __syncthreads();
  const int32_t kept = count < depth ? count : depth;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kept; i += kThreads) {
    c.scores[i] = c.sorted_scores[i];
    c.ranks[i] = c.sorted_ranks[i];
  }
  __syncthreads();
  return kept;
}

template <bool Codes>
__global__ __launch_bounds__(kThreads) void search_kernel(SearchTask t) {
  __shared__ double sure[kWarps * kSure];
  __shared__ double least;
  __shared__ int32_t appended;
  const int32_t at = t.which ? t.which[blockIdx.x] : static_cast<int32_t>(blockIdx.x);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Search source(t, at);
  Candidates candidates(dynamic_shared(), t.depth);
  Threshold threshold{-INFINITY, INT32_MAX};
  int32_t count = 0;
  unsigned long long rescored = 0, opened = 0;
  Next mine = source.best_of_column();
  for (;;) {
    const Next next = first_of_warp(mine);
    const bool open = source.hopeful(next, threshold);
    const int opening = __syncthreads_count(open && lane == 0);
    if (opening == 0) break;
    opened += static_cast<unsigned long long>(opening);

    Members members;
    if (lane < kSure) sure[warp * kSure + lane] = -INFINITY;
    __syncwarp();
    if (open) {
      source.template open<Codes>(next, members);
      name_sure(members, t.depth, sure + warp * kSure);
    }
    if (threadIdx.x == 0) {
      appended = count;
      least = -INFINITY;
    }
    __syncthreads();
    find_least(sure, t.depth, &least);
    __syncthreads();
    if (least > threshold.score) threshold = {least, INT32_MAX};
    if (open) {
      for (int i = 0; i < kMembersPerLane; ++i) {
        if (members.rank[i] < 0 || members.upper[i] < threshold.score) continue;
        const int32_t place = atomicAdd(&appended, 1);
        candidates.ranks[place] = members.rank[i];
        candidates.scores[place] = members.upper[i];  // exact already where there are no codes
      }
      const int owner =
          __ffs(static_cast<int>(__ballot_sync(kAllLanes, mine.group == next.group))) - 1;
      const Next behind = source.best_behind(next, owner);
      if (lane == owner) mine = behind;
    }
    __syncthreads();
    const int32_t total = appended;
    if (total > count) {
      rescored += static_cast<unsigned long long>(total - count);
      if constexpr (Codes) {
        for (int32_t first = count + warp * (kWarp / kDotLanes); first < total;
             first += kDotGroups) {
          const int32_t i = first + lane / kDotLanes;
          const double score = source.exact_by_lanes(candidates.ranks[i < total ? i : first]);
          if (i < total && lane % kDotLanes == 0) candidates.scores[i] = score;
        }
        __syncthreads();
      }
      count = keep_best(candidates, total, t.depth);
      if (count == t.depth) threshold = {candidates.scores[count - 1], candidates.ranks[count - 1]};
    }
  }
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
    t.lists.ranks[int64_t{at} * t.lists.room + i] = candidates.ranks[i];
    t.lists.scores[int64_t{at} * t.lists.room + i] = candidates.scores[i];
  }
  if (threadIdx.x != 0) return;
  t.lists.count[at] = count;
  t.lists.whole[at] = count < t.depth;
  atomicAdd(&t.counters->rescored, rescored);
  atomicAdd(&t.counters->opened, opened);
  atomicAdd(&t.counters->candidates, static_cast<unsigned long long>(count));
}

// A warp a source. Not part of search_kernel, whose registers it would cost.
__global__ __launch_bounds__(kThreads) void spot_check_kernel(SearchTask t, int32_t count) {
  const auto at = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (at >= count) return;
  // What the search ended with: the last entry of a full list.
  Threshold threshold{-INFINITY, INT32_MAX};
  if (!t.lists.whole[at]) {
    const int64_t last = int64_t{at} * t.lists.room + t.depth - 1;
    threshold = {t.lists.scores[last], t.lists.ranks[last]};
  }
  Search(t, at).spot_check(threshold);
}

}  // namespace

void allow_search() {
  allow_shared(search_kernel<true>);
  allow_shared(search_kernel<false>);
}

void search(const SearchTask& task, int32_t count, cudaStream_t stream) {
  launch(task.codes.latent_codes ? search_kernel<true> : search_kernel<false>,
         dim3(static_cast<unsigned>(count)), kThreads, shared_bytes(task.depth), stream, task);
}

void spot_check(const SearchTask& task, int32_t count, cudaStream_t stream) {
  if (!task.codes.latent_codes) return;
  launch(spot_check_kernel, dim3(static_cast<unsigned>((count + kWarps - 1) / kWarps)), kThreads, 0,
         stream, task, count);
}

}  // namespace gtn::cuda
