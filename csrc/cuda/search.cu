// A block searches for a source, a warp opens a group. Afterwards a warp checks a group that stayed
// closed.
#include <cmath>

#include "cuda/largest_sums.hpp"
#include "cuda/search.hpp"
#include "cuda/search_candidates.hpp"

namespace gtn::cuda {
namespace {

constexpr int kThreads = kSearchThreads, kWarps = kSearchWarps;
constexpr int kDotGroups = kThreads / kDotLanes;  // exact scores at a time

constexpr int kRowLanes = 8;  // that read a row of a group with names

// What bounds come from: caps, codes, or codes of groups with names.
enum class From { caps, codes, names };

// What can be opened and its bound, in the order of opening: a group, or of a group with names
// first the named member (2 group), then the others (2 group + 1).
struct Next {
  float upper;
  int32_t what;  // -1: none
};
__device__ bool before(const Next& a, const Next& b) {
  return a.upper > b.upper || (a.upper == b.upper && a.what < b.what);
}
__device__ Next first_of_warp(Next n) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const Next other{__shfl_xor_sync(kAllLanes, n.upper, step),
                     __shfl_xor_sync(kAllLanes, n.what, step)};
    if (other.what >= 0 && (n.what < 0 || before(other, n))) n = other;
  }
  return n;
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

// By kLanes neighbouring lanes of a warp, all of which get the sum; all lanes of the warp together
// if there are more than one.
template <int kLanes>
__device__ int32_t dot_of_codes(const CodeRow<const int8_t>& a, const CodeRow<const int8_t>& b,
                                int32_t stride) {
  const int32_t first = kLanes == 1 ? 0 : static_cast<int32_t>(threadIdx.x) % kLanes * kPiece;
  int32_t sum = 0;
  const auto add = [&sum](const int8_t* of_a, const int8_t* of_b) {
    const int4 u = *reinterpret_cast<const int4*>(of_a);
    const int4 v = *reinterpret_cast<const int4*>(of_b);
    sum = __dp4a(u.x, v.x, sum);
    sum = __dp4a(u.y, v.y, sum);
    sum = __dp4a(u.z, v.z, sum);
    sum = __dp4a(u.w, v.w, sum);
  };
  if (const int8_t *u = a.whole(), *v = b.whole(); u != nullptr) {  // both, or neither
    for (int32_t k = first; k < stride; k += kLanes * kPiece) add(u + k, v + k);
  } else {
    for (int32_t k = first; k < stride; k += kLanes * kPiece) add(a.at(k), b.at(k));
  }
  for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  return sum;
}

__device__ int32_t max_of_warp(int32_t v) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const int32_t other = __shfl_xor_sync(kAllLanes, v, step);
    v = other > v ? other : v;
  }
  return v;
}

template <From kFrom>
class Search {
 public:
  __device__ Search(const SearchTask& task, int32_t at)
      : t_(task),
        at_(at),
        row_(task.sources[at]),
        norm_(task.problem.source_norms[row_]),
        lane_(static_cast<int32_t>(threadIdx.x) % kWarp),
        warp_(static_cast<int32_t>(threadIdx.x) / kWarp),
        upper_(task.bounds.upper + int64_t{at} * task.groups.count),
        others_(kFrom == From::names ? task.bounds.others + int64_t{at} * task.groups.count
                                     : nullptr) {}

  __device__ double score_of(float cosine) const { return static_cast<double>(cosine) * norm_; }

  // This lane's groups are those of its column in every stretch of kThreads. Its best one behind
  // `after`.
  __device__ Next best_of_column() const {
    Next best{0.0f, -1};
    constexpr int32_t kEach = kFrom == From::names ? 2 : 1;
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < t_.groups.count; g += kThreads) {
      consider({upper_[g], kEach * g}, best);
    }
    return best;
  }
  // The same by all lanes of the warp, for the column of `owner`.
  __device__ Next best_behind(Next after, int owner) const {
    Next best{0.0f, -1};
    const int32_t column = warp_ * kWarp + owner;
    for (int32_t g = column + lane_ * kThreads; g < t_.groups.count; g += kWarp * kThreads) {
      if constexpr (kFrom == From::names) {
        // The others of a group come behind its named member.
        const Next named{upper_[g], 2 * g};
        const Next n = before(after, named) ? named : Next{upper_of_others_of(g), 2 * g + 1};
        if (before(after, n)) consider(n, best);
      } else {
        const Next n{upper_[g], g};
        if (before(after, n)) consider(n, best);
      }
    }
    return first_of_warp(best);
  }

  __device__ bool hopeful(const Next& n, const Threshold& threshold) const {
    if (n.what < 0) return false;
    const double score = score_of(n.upper);
    return score > threshold.score ||
           (score == threshold.score && t_.groups.low_rank[group_of(n)] < threshold.rank);
  }

  // Fills the lane's members of a group.
  __device__ void open(const Next& n, Members& members) const {
    int32_t largest = INT32_MIN;
    for (int i = 0; i < kMembersPerLane; ++i) {
      const int32_t m = lane_ + i * kWarp;
      if (m >= t_.groups.members) continue;
      const int32_t rank = rank_of(n.what, m);
      if constexpr (kFrom == From::codes) {
        const int32_t sum = dot_of_codes<1>(codes_of(n.what, m), source_codes(), t_.codes.stride);
        largest = sum > largest ? sum : largest;
        if (!out(rank)) set(members, i, rank, n.what, sum);
      } else {
        if (out(rank)) continue;
        members.upper[i] = members.lower[i] = exact(rank);
        members.rank[i] = rank;
      }
    }
    if constexpr (kFrom == From::codes) verify(n.what, largest);
  }

  // Fills place i of the lane's members: the named member of a group, or one of the others.
  __device__ void open_named(const Next& n, int i, Members& members) const {
    const int32_t group = n.what / 2, named = name_of_others(others_[group]);
    if (n.what % 2 == 0) {
      const int32_t rank = rank_of(group, named);
      if (out(rank)) return;  // all lanes alike
      const int32_t sum =
          dot_of_codes<kWarp>(codes_of(group, named), source_codes(), t_.codes.stride);
      const Terms terms = terms_of(group);
      const float upper = upper_of_key(key_of(sum, named), terms.base, *terms.group, *terms.source);
      if (__float_as_int(upper) != __float_as_int(n.upper)) disagree();
      if (lane_ == 0) set(members, i, rank, group, sum);
      return;
    }
    const int32_t m = member_of_lane(), sum = sum_of_lane(group);
    verify_named(group, key_of(sum, m));
    const int32_t rank = rank_of(group, m);
    if (m != named && !out(rank)) set(members, i, rank, group, sum);
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
    Next last{upper_[g], g};  // of the group, to be opened
    if constexpr (kFrom == From::names) last = {upper_of_others_of(g), 2 * g + 1};
    const unsigned closed = __ballot_sync(kAllLanes, !hopeful(last, threshold));
    if (closed == 0) return;
    const int32_t checked = __shfl_sync(kAllLanes, g, __ffs(static_cast<int>(closed)) - 1);
    if constexpr (kFrom == From::names) {
      verify_named(checked, key_of(sum_of_lane(checked), member_of_lane()));
    } else {
      int32_t largest = INT32_MIN;
      for (int32_t m = lane_; m < t_.groups.members; m += kWarp) {
        const int32_t sum = dot_of_codes<1>(codes_of(checked, m), source_codes(), t_.codes.stride);
        largest = sum > largest ? sum : largest;
      }
      verify(checked, largest);
    }
  }

 private:
  __device__ static int32_t group_of(const Next& n) {
    return kFrom == From::names ? n.what / 2 : n.what;
  }
  __device__ void consider(const Next& n, Next& best) const {
    if (n.upper > -INFINITY && (best.what < 0 || before(n, best))) best = n;
  }
  // Bound of a group's members without the named one; not above that of all.
  __device__ float upper_of_others_of(int32_t group) const {
    const float upper = upper_[group], others = upper_of_others(others_[group]);
    return others < upper ? others : upper;
  }
  __device__ int32_t rank_of(int32_t group, int32_t member) const {
    return t_.groups.ranks[int64_t{group} * t_.groups.members + member];
  }
  __device__ bool out(int32_t rank) const {
    return rank < 0 || t_.holder[rank] < (t_.pass_held ? at_ : 0);
  }

  __device__ CodeRow<const int8_t> codes_of(int32_t group, int32_t member) const {
    const CodeView& c = t_.codes;
    return {c.latent_codes, c.order, c.stride, c.slots.slot_of(group, member)};
  }
  __device__ CodeRow<const int8_t> source_codes() const {
    return {t_.codes.source_codes, t_.codes.order, t_.codes.stride, at_};
  }
  struct Terms {
    const GroupCode* group;
    const SourceCode* source;
    float base;
  };
  __device__ Terms terms_of(int32_t group) const {
    const CodeView& c = t_.codes;
    const GroupCode& code = c.groups[group];
    return {&code, &c.sources[at_], c.base[int64_t{code.cell} * c.source_rows + at_]};
  }

  // A member of a group whose codes have this sum with the source's.
  __device__ void set(Members& members, int i, int32_t rank, int32_t group, int32_t sum) const {
    const Terms t = terms_of(group);
    const float upper = upper_cosine(sum, t.base, *t.group, *t.source);
    // The bound holds on both sides; the rest is for what float32 rounded up.
    const double error = static_cast<double>(t.source->coded_norm) * t.group->residual +
                         static_cast<double>(t.source->residual) * t.group->radius;
    // (Places stay in registers.)
#pragma unroll
    for (int j = 0; j < kMembersPerLane; ++j) {
      if (j != i) continue;
      members.upper[j] = score_of(upper);
      members.lower[j] = (upper - 2.00001 * error - 2e-6) * norm_;
      members.rank[j] = rank;
    }
  }

  // A group with names is read four rows at a time, each by kRowLanes lanes. A lane then has the
  // sum of one member.
  __device__ int32_t member_of_lane() const {
    return lane_ % kRowLanes * (kWarp / kRowLanes) + lane_ / kRowLanes;
  }
  __device__ int32_t sum_of_lane(int32_t group) const {
    int32_t mine = 0;
    for (int at = 0; at < kRowLanes; ++at) {
      const int32_t m = at * (kWarp / kRowLanes) + lane_ / kRowLanes;
      const int32_t sum =
          dot_of_codes<kRowLanes>(codes_of(group, m), source_codes(), t_.codes.stride);
      if (lane_ % kRowLanes == at) mine = sum;
    }
    return mine;
  }

  // The scan must have found what the codes give, to the bit: the bound of everything rests on it.
  __device__ void disagree() const { atomicExch(&t_.counters->disagreed, 1); }
  __device__ void verify(int32_t group, int32_t largest) const {
    const Terms t = terms_of(group);
    const float expected = upper_cosine(max_of_warp(largest), t.base, *t.group, *t.source);
    if (__float_as_int(expected) != __float_as_int(upper_[group])) disagree();
  }
  // key: of the lane's member.
  __device__ void verify_named(int32_t group, int32_t key) const {
    const int32_t first = max_of_warp(key);
    const LargestKeys keys{first, max_of_warp(key == first ? INT32_MIN : key)};
    const Terms t = terms_of(group);
    const NamedBound expected = keys.bound(t.base, *t.group, *t.source);
    if (__float_as_int(expected.upper) != __float_as_int(upper_[group]) ||
        expected.others != others_[group]) {
      disagree();
    }
  }

  const SearchTask& t_;
  int32_t at_;
  int32_t row_;
  double norm_;
  int32_t lane_, warp_;
  const float* upper_;  // the source's
  const int32_t* others_;
};

// The warp has opened `next`: its lane goes on to what follows in its column.
template <From kFrom>
__device__ void pass(const Search<kFrom>& source, const Next& next, Next& mine) {
  const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, mine.what == next.what))) - 1;
  const Next behind = source.best_behind(next, owner);
  if (static_cast<int>(threadIdx.x) % kWarp == owner) mine = behind;
}

template <From kFrom>
__global__ __launch_bounds__(kThreads) void search_kernel(SearchTask t) {
  __shared__ double sure[kWarps * kSure];
  __shared__ double least;
  __shared__ int32_t appended;
  const int32_t at = t.which ? t.which[blockIdx.x] : static_cast<int32_t>(blockIdx.x);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const Search<kFrom> source(t, at);
  Candidates candidates(dynamic_shared(), t.depth);
  Threshold threshold{-INFINITY, INT32_MAX};
  int32_t count = 0;
  unsigned long long rescored = 0;
  unsigned opened = 0, named = 0;  // by this warp
  Next mine = source.best_of_column();
  for (;;) {
    Next next = first_of_warp(mine);
    const bool open = source.hopeful(next, threshold);
    if (!__syncthreads_or(open)) break;

    Members members;
    if (lane < kSure) sure[warp * kSure + lane] = -INFINITY;
    __syncwarp();
    if (open) {
      members.clear();
      if constexpr (kFrom == From::names) {
        // Several at once, or most lanes would have no exact score to compute.
#pragma unroll 1
        for (int i = 0; i < kMembersPerLane && source.hopeful(next, threshold); ++i) {
          source.open_named(next, i, members);
          ++(next.what % 2 == 0 ? named : opened);
          pass(source, next, mine);
          next = first_of_warp(mine);
        }
      } else {
        source.open(next, members);
        ++opened;
      }
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
      if constexpr (kFrom != From::names) pass(source, next, mine);
    }
    __syncthreads();
    const int32_t total = appended;
    if (total > count) {
      rescored += static_cast<unsigned long long>(total - count);
      if constexpr (kFrom != From::caps) {
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
  if (lane == 0) {
    atomicAdd(&t.counters->opened, static_cast<unsigned long long>(opened));
    atomicAdd(&t.counters->named, static_cast<unsigned long long>(named));
  }
  if (threadIdx.x != 0) return;
  t.lists.count[at] = count;
  t.lists.whole[at] = count < t.depth;
  atomicAdd(&t.counters->rescored, rescored);
  atomicAdd(&t.counters->candidates, static_cast<unsigned long long>(count));
}

// A warp a source. Not part of search_kernel, whose registers it would cost.
template <From kFrom>
__global__ __launch_bounds__(kThreads) void spot_check_kernel(SearchTask t, int32_t count) {
  const auto at = static_cast<int32_t>(int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (at >= count) return;
  // What the search ended with: the last entry of a full list.
  Threshold threshold{-INFINITY, INT32_MAX};
  if (!t.lists.whole[at]) {
    const int64_t last = int64_t{at} * t.lists.room + t.depth - 1;
    threshold = {t.lists.scores[last], t.lists.ranks[last]};
  }
  Search<kFrom>(t, at).spot_check(threshold);
}

}  // namespace

void allow_search() {
  allow_shared(search_kernel<From::caps>);
  allow_shared(search_kernel<From::codes>);
  allow_shared(search_kernel<From::names>);
}

void search(const SearchTask& task, int32_t count, cudaStream_t stream) {
  const auto kernel = !task.codes.latent_codes ? search_kernel<From::caps>
                      : task.bounds.others     ? search_kernel<From::names>
                                               : search_kernel<From::codes>;
  launch(kernel, dim3(static_cast<unsigned>(count)), kThreads, shared_bytes(task.depth), stream,
         task);
}

void spot_check(const SearchTask& task, int32_t count, cudaStream_t stream) {
  if (!task.codes.latent_codes) return;
  launch(task.bounds.others ? spot_check_kernel<From::names> : spot_check_kernel<From::codes>,
         dim3(static_cast<unsigned>((count + kWarps - 1) / kWarps)), kThreads, 0, stream, task,
         count);
}

}  // namespace gtn::cuda
