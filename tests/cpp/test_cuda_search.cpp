// The search, in the emulator: its lists against all scores sorted, for bounds as tight and as
// loose as bounds may be, latents that are taken or held, short and long lists; and that a scan
// whose bounds are not what its codes give is found out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/backend_cuda.hpp"
#include "cuda/caps.hpp"
#include "cuda/codes.hpp"
#include "cuda/largest_sums.hpp"
#include "cuda/matcher.hpp"
#include "cuda/scan_kernels.hpp"
#include "cuda/search.hpp"
#include "cuda_job.hpp"
#include "device_problem.hpp"

using emulation::Array;
using emulation::DeviceProblem;
using emulation::make;
using emulation::Shape;
using gtn::cuda::Counters;
using gtn::cuda::kFree;
using gtn::cuda::kTaken;
using gtn::cuda::ScanKernel;
using gtn::cuda::ScanTask;
using reference::Data;

namespace {

// How far the bounds are above what they bound. Bounds of codes are the scan's, whatever is asked.
enum class Tightness { exact, loose, scan };

struct Entry {
  double score;
  int32_t rank;
  bool operator<(const Entry& o) const {
    return score != o.score ? score > o.score : rank < o.rank;
  }
};

class Searched {
 public:
  Searched(const Data& x, const Data& y)
      : x_(x),
        y_(y),
        p_(x, y),
        rows_(p_.rows_by_rank()),
        sources_(p_.sources_in_order()),
        norms_(p_.latents.norms().get()),
        source_norms_(p_.sources.norms().get()) {
    const auto latents = static_cast<int32_t>(x.n);
    if (x.dim <= gtn::cuda::kCapDims) {
      bounds_ = std::make_unique<gtn::cuda::CapBounds>(p_.budget, p_.problem, latents, nullptr);
    } else {
      bounds_ = std::make_unique<gtn::cuda::CodeBounds>(
          p_.budget, p_.problem, latents, static_cast<int32_t>(y.n), gtn::cuda::scan_dp4a, 3, false,
          p_.parallel, nullptr);
    }
    std::vector<int32_t> all(static_cast<size_t>(latents));
    std::iota(all.begin(), all.end(), 0);
    p_.give_to_sorter(all);
    bounds_->lay_out(latents, p_.sorter);
    gtn::cuda::allow_search();
  }

  // Sources whose list is not what it should be.
  int64_t wrong(const std::vector<int32_t>& holder, bool pass_held, int32_t depth,
                Tightness tightness, bool some) {
    const auto n = static_cast<size_t>(y_.n);
    const gtn::cuda::Groups groups = bounds_->groups();
    const Array<float> upper(n * static_cast<size_t>(groups.count));
    const Array<int32_t> others(n * static_cast<size_t>(groups.count));
    bounds_->write_upper({p_.order(), static_cast<int32_t>(n)},
                         {upper.data(), named_ ? others.data() : nullptr});
    if (tightness != Tightness::scan) write_bounds(groups, tightness, upper);
    const int32_t room = depth + 3;
    const Array<int32_t> ranks(n * static_cast<size_t>(room)), counts(n), whole(n);
    const Array<double> scores(n * static_cast<size_t>(room));
    const Array<Counters> counters(std::vector<Counters>{{}});
    const Array<int32_t> held(holder);
    std::vector<int32_t> which;
    for (int32_t s = 0; s < y_.n; ++s) {
      if (!some || s % 3 == 1) which.push_back(s);
    }
    const Array<int32_t> which_there(which);
    const gtn::cuda::SearchTask task{
        p_.problem,
        groups,
        bounds_->codes(),
        {upper.data(), bounds_->named() && named_ ? others.data() : nullptr},
        p_.order(),
        0,
        some ? which_there.data() : nullptr,
        held.data(),
        pass_held,
        depth,
        {ranks.data(), scores.data(), counts.data(), whole.data(), room},
        counters.data()};
    gtn::cuda::search(task, static_cast<int32_t>(which.size()), nullptr);
    const auto got_ranks = ranks.get(), got_counts = counts.get(), got_whole = whole.get();
    const auto got_scores = scores.get();
    counted_ = counters.get()[0];
    CHECK(counted_.disagreed == 0);
    int64_t wrong = 0;
    for (const int32_t s : which) {
      std::vector<Entry> expected;
      for (int32_t rank = 0; rank < x_.n; ++rank) {
        if (holder[static_cast<size_t>(rank)] < (pass_held ? s : 0)) continue;
        expected.push_back({score(rank, s), rank});
      }
      std::sort(expected.begin(), expected.end());
      const bool all = expected.size() < static_cast<size_t>(depth);
      if (!all) expected.resize(static_cast<size_t>(depth));
      bool right = got_counts[static_cast<size_t>(s)] == static_cast<int32_t>(expected.size());
      right = right && (got_whole[static_cast<size_t>(s)] != 0) == all;
      for (size_t i = 0; right && i < expected.size(); ++i) {
        const size_t at = static_cast<size_t>(s) * static_cast<size_t>(room) + i;
        right = got_ranks[at] == expected[i].rank && got_scores[at] == expected[i].score;
      }
      wrong += !right;
    }
    return wrong;
  }

  // Of the last search.
  const Counters& counted() const { return counted_; }
  // Searches as if groups had no names.
  void forget_names() { named_ = false; }

 private:
  double score(int32_t rank, int32_t position) const {
    const int64_t row = rows_[static_cast<size_t>(rank)];
    return reference::dot(x_, row, y_, sources_[static_cast<size_t>(position)]) /
           norms_[static_cast<size_t>(row)];
  }

  // The least float that bounds the scores of a group, or much more.
  void write_bounds(const gtn::cuda::Groups& groups, Tightness tightness,
                    const Array<float>& upper) {
    if (bounds_->codes().latent_codes) return;
    const auto count = static_cast<size_t>(groups.count);
    const auto members = static_cast<size_t>(groups.members);
    std::vector<int32_t> ranks(count * members);
    REQUIRE(cudaMemcpy(ranks.data(), groups.ranks, ranks.size() * sizeof(int32_t),
                       cudaMemcpyDeviceToHost) == cudaSuccess);
    std::vector<float> bounds;
    for (int32_t s = 0; s < y_.n; ++s) {
      const double norm = source_norms_[static_cast<size_t>(sources_[static_cast<size_t>(s)])];
      for (size_t g = 0; g < count; ++g) {
        double most = -INFINITY;
        for (size_t i = 0; i < members; ++i) {
          const int32_t rank = ranks[g * members + i];
          if (rank >= 0) most = std::max(most, score(rank, s));
        }
        auto bound = static_cast<float>(most / norm);
        if (static_cast<double>(bound) * norm < most) bound = std::nextafterf(bound, 2.0f);
        bounds.push_back(tightness == Tightness::loose && g % 3 ? 1.5f : bound);
      }
    }
    REQUIRE(cudaMemcpy(upper.data(), bounds.data(), bounds.size() * sizeof(float),
                       cudaMemcpyHostToDevice) == cudaSuccess);
  }

  const Data &x_, &y_;
  DeviceProblem p_;
  std::vector<int32_t> rows_, sources_;
  std::vector<double> norms_, source_norms_;
  std::unique_ptr<gtn::cuda::Bounds> bounds_;
  bool named_ = true;
  Counters counted_{};
};

// Scans that lie.
__global__ void lower_some(float* upper, int64_t count, int64_t groups, int64_t step) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count && (i / groups + i % groups) % step == 0) upper[i] -= 1e-6f;
}
template <int Step>
void lying_scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  gtn::cuda::scan_dp4a.scan(task, multiprocessors, stream);
  const int64_t groups = int64_t{task.superpanels} * gtn::cuda::kTileGroups;
  const int64_t count = groups * task.source_count;
  gtn::cuda::launch(lower_some, dim3(static_cast<unsigned>((count + 255) / 256)), 256, 0, stream,
                    task.upper, count, groups, int64_t{Step});
}
template <int Member>
void forgetful_scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  // As if one member of each group were not looked at.
  ScanTask other = task;
  const size_t bytes = static_cast<size_t>(task.superpanels) *
                       static_cast<size_t>(task.slots.superpanel_slots()) *
                       static_cast<size_t>(task.stride);
  int8_t* codes = nullptr;
  REQUIRE(cudaMalloc(&codes, bytes) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(codes, task.latent_codes, bytes, cudaMemcpyDeviceToDevice, stream) ==
          cudaSuccess);
  for (int64_t g = 0; g < int64_t{task.superpanels} * gtn::cuda::kTileGroups; ++g) {
    REQUIRE(cudaMemsetAsync(codes + task.slots.slot_of(g, Member) * task.stride, 0,
                            static_cast<size_t>(task.stride), stream) == cudaSuccess);
  }
  other.latent_codes = codes;
  gtn::cuda::scan_dp4a.scan(other, multiprocessors, stream);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  REQUIRE(cudaFree(codes) == cudaSuccess);
}

// As if the tensor cores had not been given the first tile: the bounds of its groups are far too
// low, so that no search ever opens one of them.
__global__ void hide_groups(float* upper, int64_t count, int64_t groups) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count && i % groups < gtn::cuda::kTileGroups) upper[i] -= 3.0f;
}
void blind_scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  gtn::cuda::scan_dp4a.scan(task, multiprocessors, stream);
  const int64_t groups = int64_t{task.superpanels} * gtn::cuda::kTileGroups;
  const int64_t count = groups * task.source_count;
  gtn::cuda::launch(hide_groups, dim3(static_cast<unsigned>((count + 255) / 256)), 256, 0, stream,
                    task.upper, count, groups);
}

// Of groups with names: another member is named, or the bound of the others is too low.
__global__ void change_others(int32_t* others, int64_t count, bool name) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) others[i] = name ? others[i] ^ 1 : others[i] - (others[i] < 0 ? -32 : 32);
}
template <bool Name>
void slandering_scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  gtn::cuda::scan_dp4a.scan(task, multiprocessors, stream);
  const int64_t count =
      int64_t{task.superpanels} * gtn::cuda::kTileGroups * int64_t{task.source_count};
  gtn::cuda::launch(change_others, dim3(static_cast<unsigned>((count + 255) / 256)), 256, 0, stream,
                    task.others, count, Name);
}

// What a matching by this kernel throws; empty if it does not.
std::string thrown_with(const ScanKernel& kernel, const Data& x, const Data& y) {
  DeviceProblem p(x, y);
  const auto n = static_cast<size_t>(y.n);
  const Array<int32_t> assignment(n);
  const Array<double> cosine(n);
  gtn::cuda::HostRoom host(64, nullptr);
  const gtn::cuda::Resources resources{p.budget, p.sorter, host,       kernel, 3,
                                       64,       false,    p.parallel, nullptr};
  const gtn::cuda::Job job{
      p.problem, static_cast<int32_t>(x.n), p.order(),    static_cast<int32_t>(n),
      1,         assignment.data(),         cosine.data()};
  gtn::Stats stats;
  try {
    gtn::cuda::Matcher(resources, job, stats).run([](int64_t, std::span<const int32_t>) {});
  } catch (const gtn::cuda::WrongKernel& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("lists are the best latents that are left, in order") {
  std::mt19937_64 random(1);
  for (const int64_t dim : {2, 7, 9}) {
    for (const Shape shape :
         {Shape::gaussian, Shape::integers, Shape::tiny_clusters, Shape::equal}) {
      const Data x = make(shape, 260, dim, dim % 2, 2);
      const Data y = make(shape == Shape::equal ? Shape::gaussian : shape, 6, dim, false, 3);
      Searched searched(x, y);
      for (const Tightness tightness : {Tightness::scan, Tightness::exact, Tightness::loose}) {
        if (dim > gtn::cuda::kCapDims && tightness != Tightness::scan) continue;
        for (const int32_t depth : {1, 2, 4, 30}) {
          std::vector<int32_t> holder(260, kFree);
          // None, few or nearly all are gone; some are held.
          const uint64_t gone = depth == 2 ? 0 : depth == 30 ? 95 : 30;
          for (int32_t& h : holder) {
            if (random() % 100 < gone) h = kTaken;
            if (h == kFree && depth != 1 && random() % 3 == 0) {
              h = static_cast<int32_t>(random() % 6);
            }
          }
          CHECK(searched.wrong(holder, false, depth, tightness, depth == 4) == 0);
          CHECK(searched.wrong(holder, true, depth, tightness, depth == 30) == 0);
        }
      }
    }
  }
}

TEST_CASE("groups with names: the largest is dead, equal to others or held, or not the best") {
  std::mt19937_64 random(11);
  for (const int64_t dim : {500, 768}) {
    for (const Shape shape : emulation::kShapes) {
      const Data x = make(shape, 150, dim, dim == 500, 12);
      const Data y = make(shape == Shape::equal ? Shape::gaussian : shape, 5, dim, false, 13);
      Searched searched(x, y);
      for (const int32_t depth : {1, 3, 20}) {
        std::vector<int32_t> holder(150, kFree);
        const uint64_t gone = depth == 3 ? 0 : depth == 1 ? 60 : 90;
        for (int32_t& h : holder) {
          if (random() % 100 < gone) h = kTaken;
          if (h == kFree && random() % 3 == 0) h = static_cast<int32_t>(random() % 5);
        }
        CHECK(searched.wrong(holder, depth == 3, depth, Tightness::scan, depth == 20) == 0);
      }
      CHECK(searched.wrong(std::vector<int32_t>(150, kTaken), true, 2, Tightness::scan, false) ==
            0);
    }
  }
}

TEST_CASE("groups with names: few are read whole") {
  const Data x = make(Shape::gaussian, 1500, 500, false, 14);
  const Data y = make(Shape::gaussian, 6, 500, false, 15);
  const std::vector<int32_t> holder(1500, kFree);
  Searched searched(x, y);
  CHECK(searched.wrong(holder, true, 4, Tightness::scan, false) == 0);
  const Counters with = searched.counted();
  searched.forget_names();
  CHECK(searched.wrong(holder, true, 4, Tightness::scan, false) == 0);
  const Counters without = searched.counted();
  CHECK(without.named == 0);
  CHECK(with.named > 0);
  CHECK(4 * (with.opened + with.named / 32) < without.opened);
}

TEST_CASE("a coarse group and fine ones, and sources that are all but undecided") {
  // Most latents lie close together, some anywhere: their codes have errors of another size. A
  // source turns from the first towards the others until both best scores are all but the same. So
  // many groups that several warps have some, whose bounds then decide over each other's members.
  std::mt19937_64 random(10);
  constexpr int64_t dim = 12, kClose = 33 * 128, kAll = kClose + 128, kSources = 20;
  for (const bool spikes : {false, true}) {  // of sources, whose codes are then the coarse ones
    Data x = make(Shape::gaussian, kAll, dim, true, random());
    const auto at = [&](Data& d, int64_t row, int64_t k) -> double& {
      return d.f64[static_cast<size_t>(row * dim + k)];
    };
    for (int64_t i = 1; i < kClose; ++i) {
      for (int64_t k = 0; k < dim; ++k) at(x, i, k) = x.at(0, k) + 1e-3 * x.at(i, k);
    }
    Data ends = make(Shape::gaussian, kSources, dim, true, random());
    for (int64_t j = 0; j < kSources && spikes; ++j) at(ends, j, 0) *= 20.0;
    for (int64_t i = kClose * dim; i < kAll * dim && spikes; ++i) {
      double& v = x.f64[static_cast<size_t>(i)];
      v = std::copysign(1.0 + 0.01 * v, v);
    }
    std::vector<double> norm;
    for (int64_t i = 0; i < kAll; ++i) norm.push_back(std::sqrt(reference::dot(x, i, x, i)));
    Data y = ends;
    for (int64_t j = 0; j < kSources; ++j) {
      const auto close_ones_lead = [&](double turn) {
        for (int64_t k = 0; k < dim; ++k) {
          at(y, j, k) = (1.0 - turn) * x.at(0, k) / norm[0] + turn * ends.at(j, k);
        }
        double most[2] = {-INFINITY, -INFINITY};
        for (int64_t i = 0; i < kAll; ++i) {
          double& m = most[i >= kClose];
          m = std::max(m, reference::dot(x, i, y, j) / norm[static_cast<size_t>(i)]);
        }
        return most[0] > most[1];
      };
      double near = 0.0, far = 1.0;
      while (far - near > 1e-6) {
        const double middle = (near + far) / 2;
        (close_ones_lead(middle) ? near : far) = middle;
      }
      close_ones_lead(j % 4 ? near : far);
    }
    Searched searched(x, y);
    for (const int32_t depth : {1, 2, 5}) {
      CHECK(searched.wrong(std::vector<int32_t>(kAll, kFree), false, depth, Tightness::scan,
                           false) == 0);
    }
  }
}

TEST_CASE("the deepest search there is, and one in many groups") {
  const Data x = make(Shape::clusters, 1700, 3, false, 4),
             y = make(Shape::gaussian, 2, 3, false, 5);
  const std::vector<int32_t> holder(1700, kFree);
  CHECK(Searched(x, y).wrong(holder, false, gtn::cuda::kMostDepth, Tightness::scan, false) == 0);
  // More than one stretch of groups for a thread.
  const Data many = make(Shape::gaussian, 35000, 2, false, 6);
  const Data few = make(Shape::gaussian, 4, 2, false, 7);
  CHECK(Searched(many, few).wrong(std::vector<int32_t>(35000, kFree), false, 40, Tightness::loose,
                                  false) == 0);
}

TEST_CASE("a scan that does not find what codes give is found out") {
  const Data x = make(Shape::gaussian, 700, 24, false, 8);
  const Data y = make(Shape::gaussian, 150, 24, false, 9);
  CHECK(thrown_with(gtn::cuda::scan_dp4a, x, y) == "");
  for (const ScanKernel& kernel : {ScanKernel{"lying", "", 75, 0, lying_scan<1>},
                                   ScanKernel{"lying", "", 75, 0, lying_scan<7>},
                                   ScanKernel{"lying", "", 75, 0, forgetful_scan<0>},
                                   ScanKernel{"lying", "", 75, 0, forgetful_scan<63>},
                                   ScanKernel{"lying", "", 75, 0, blind_scan}}) {
    CHECK(thrown_with(kernel, x, y) ==
          "the scan kernel lying found other bounds than its codes give");
  }
  const Data wide = make(Shape::gaussian, 200, 500, false, 8);
  const Data wide_sources = make(Shape::gaussian, 100, 500, false, 9);
  CHECK(thrown_with(gtn::cuda::scan_dp4a, wide, wide_sources) == "");
  for (const ScanKernel& kernel : {ScanKernel{"lying", "", 75, 0, lying_scan<7>},
                                   ScanKernel{"lying", "", 75, 0, forgetful_scan<17>},
                                   ScanKernel{"lying", "", 75, 0, blind_scan},
                                   ScanKernel{"lying", "", 75, 0, slandering_scan<true>},
                                   ScanKernel{"lying", "", 75, 0, slandering_scan<false>}}) {
    CHECK(thrown_with(kernel, wide, wide_sources) ==
          "the scan kernel lying found other bounds than its codes give");
  }
}
