// LineScan: the Shortlist for one dimension, where every latent points one of two ways and scores
// differ by rounding alone. Any approximate arithmetic would have to list half of all latents.
//
// Scale |x| and |y| by powers of two into [1, 2); that scales p = |x| |y| and the magnitude of
// the score, fl(fl(p) / |x|), exactly. fl(p) is off by at most half a unit in the last place (ulp)
// of p.
//   p < 2:  ulp(p) = ulp(|y|), and divided by |x| > 1 the error is less than half an ulp of |y|:
//           the score is |y| (so it is for |x| = 1 or |y| = 1, where p is exact).
//   p >= 2: ulp(p) = 2 ulp(|y|), and divided by |x| >= 2 / |y| > 1 the error is less than one ulp
//           of |y|: the score is |y| or one unit beside it.
// So magnitudes take three values, and the two beside |y| occur only for |x| in [2 / |y|, 2) times
// a power of two. Latents of one sign lie sorted by |x|, as ranks do, so each octave (|x| of one
// exponent) offers them as one stretch, found by bisection; |y| itself is met within a few latents.
#pragma once

#include "core/contract.hpp"
#include "core/free_bits.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "core/shortlist.hpp"

namespace gtn {

class LineScan final : public Shortlist {
 public:
  LineScan(const Scorer& scorer, const FreeLatents& free, Parallel& parallel);

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override;
  void remove(std::span<const LatentId> ids) override;

 private:
  struct Octave {
    int64_t begin, end;  // positions
    double top;          // the power of two above
  };
  // The latents of one sign, by ascending id.
  struct Side {
    std::vector<LatentId> ids;
    std::vector<double> norms;  // |x|: in one dimension the computed norm is exact
    std::vector<Octave> octaves;
    FreeBits free;
  };
  class Finder;
  size_t side_of(LatentId id) const;
  void make_octaves(Side& side) const;

  const Scorer& scorer_;
  const FreeLatents& free_;
  Parallel& parallel_;
  Side sides_[2];                  // negative, positive
  std::vector<int32_t> position_;  // by id
  bool ascending_ = true;          // |x| ascends with the rank
};

}  // namespace gtn
