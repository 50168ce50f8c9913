#include "core/first_prices.hpp"

#include <algorithm>
#include <numeric>

#include "core/exact_priced_scan.hpp"
#include "core/group_chooser.hpp"
#include "core/local_chooser.hpp"

namespace gtn {
namespace {

// These are part of the contract: other first prices give other pairs where those are not unique,
// and other results for a tolerance above 0.
constexpr int64_t kEvery = 4;      // of the rows make the sample
constexpr int64_t kMostDims = 16;  // prices of a sample say little in more
constexpr int kBits = 4;           // the first epsilon is smaller by so many
constexpr int64_t kCutPhases = 3;
constexpr int kSampleBits = 6;  // and so many the sample's last

constexpr int64_t kAtOnce = 1 << 16;  // sources for which lists are kept at a time
constexpr int64_t kDepth = 8;         // of lists that only have to certify the best

// Empties a Sampling, also when an error ends the sample.
struct Emptied {
  Sampling& told;
  ~Emptied() { told = {}; }
};

void subtract_least(std::vector<int64_t>& values) {
  const int64_t least = *std::min_element(values.begin(), values.end());
  for (int64_t& v : values) v -= least;
}

// Of each own id its value: of each id of all machines.
std::vector<int64_t> of_all_ids(const std::vector<int64_t>& own, const TransportGroup& group,
                                Collective& ranks) {
  const std::vector<int64_t> ids(group.own->ids.begin(), group.own->ids.end());
  std::vector<int64_t> all(group.distinct.count());
  ranks.place<int64_t>(ids, own, all);
  return all;
}

}  // namespace

void for_each_favourite(const Scorer& scorer, const ScoreGrid& grid,
                        const DistinctLatents& distinct, Prices& prices,
                        const PricedBackend& backend, Parallel& parallel, AuctionStats& stats,
                        FunctionRef<void(SourceRow, LatentId, int64_t)> visit) {
  ExactPricedScan exact(scorer, grid, distinct, prices, parallel);
  const auto search = backend(scorer, grid, distinct, prices, parallel);
  std::vector<SourceRow> some;
  std::vector<int32_t> places;
  std::vector<Choice> best;
  for (int64_t from = 0; from < scorer.sources().count; from += kAtOnce) {
    some.resize(std::min(kAtOnce, scorer.sources().count - from));
    std::iota(some.begin(), some.end(), static_cast<SourceRow>(from));
    places.resize(some.size());
    std::iota(places.begin(), places.end(), 0);
    LocalChooser chooser(scorer, grid, distinct, some, prices, *search, exact, kDepth, kDepth,
                         parallel, stats);
    chooser.choose(places, false, best);
    for (size_t i = 0; i < best.size(); ++i) visit(some[i], best[i].id, best[i].best);
  }
}

void sample_first_prices(const TransportRows& rows, const GroupRows& group,
                         TransportGroup& integers, const PricedBackend& backend, int64_t depth,
                         int64_t from, Parallel& parallel, AuctionStats& stats, Sampling& told) {
  const int64_t n = std::ssize(group.sources), dim = rows.latents.dim;
  if (n < from || n < std::ssize(group.latents) || dim > kMostDims) return;
  GroupRows sampled;
  for (int64_t i = 0; i < n; i += kEvery) {
    sampled.sources.push_back(group.sources[i]);
    sampled.latents.push_back(group.latents[i]);
  }
  const Emptied emptied{told};
  const Sampling idle{std::ssize(sampled.sources), nullptr};
  told = idle;
  // What each of its sources has at the prices that suit the sample.
  std::vector<int64_t> values;
  {
    TransportGroup sample(rows, sampled, parallel);
    const int64_t last = std::max<int64_t>(1, sample.epsilon >> kSampleBits);
    sample_first_prices(rows, sampled, sample, backend, depth, from, parallel, stats, told);
    told = idle;
    Prices prices(sample.distinct, sample.first_prices);
    GroupChooser chooser(rows, sample, sampled.sources, prices, backend, depth, depth, parallel,
                         stats);
    Auction auction(sample.distinct, idle.sources, prices, chooser.chooser(), parallel, stats);
    const Emptied stopped{told};  // before the auction is gone
    told = {idle.sources, &auction};
    auction.run_coarsely(sample.epsilon, last);
    if (sample.scale > 0.0) {
      integers.cost = auction.likely_cost(sample.moment) / sample.scale * integers.scale;
    }
    for (const Choice& c : auction.favourites()) {
      values.push_back(integers.grid.of(sample.grid.real(c.best)));
    }
  }
  told = idle;
  subtract_least(values);

  // The price of a latent: the most that a source of the sample would pay for it. For this search
  // both sides change places.
  const DistinctLatents& asking = integers.searched();
  std::vector<double> centred(asking.count() * dim);
  for (LatentId id = 0; id < asking.count(); ++id) {
    widen_row(rows.latents, asking.row(id), &centred[id * dim]);
  }
  Rows latents = integers.scorer.latents();
  latents.data = centred.data();
  latents.dtype = DType::f64;
  latents.mean = nullptr;
  latents.count = asking.count();
  const Scorer scorer(integers.scorer.sources(), latents, rows.kernels);
  const DistinctLatents payers(sampled.sources, rows.yy);
  Prices prices(payers, std::move(values));
  std::vector<int64_t> learnt(asking.count());
  for_each_favourite(scorer, integers.grid, payers, prices, backend, parallel, stats,
                     [&](SourceRow id, LatentId, int64_t value) { learnt[id] = value; });
  if (integers.own) learnt = of_all_ids(learnt, integers, rows.share->ranks);
  subtract_least(learnt);
  integers.set_first_prices(std::move(learnt));
  integers.epsilon = std::max<int64_t>(1, integers.epsilon >> kBits);
  integers.cut_phases = kCutPhases;
}

}  // namespace gtn
