#include "cpu/backend_cpu.hpp"

#include "cpu/shortlist_cpu.hpp"
#include "cpu/shortlist_tree.hpp"

namespace gtn {
namespace {

// Beyond, a tree never paid in measurements and is not tried.
constexpr int64_t kTreeDims = 16;
constexpr int64_t kFewestLatents = 1024;

class CpuSearch final : public Shortlist {
 public:
  CpuSearch(const Scorer& scorer, const FreeLatents& free, std::span<const Query> first,
            const InstructionSet& set, bool tree_allowed, bool int16_allowed, Parallel& parallel)
      : scorer_(scorer),
        free_(free),
        set_(set),
        int16_allowed_(int16_allowed),
        parallel_(parallel) {
    if (tree_allowed && scorer.latents().dim <= kTreeDims && free.ids() >= kFewestLatents) {
      tree_ = std::make_unique<TreeShortlist>(scorer, free, *set.tree, parallel);
      tree_->try_out(first);
    }
    scan_unless_tree_pays();
  }

  void search(std::span<const Query> queries, int64_t depth, bool guess,
              std::span<CandidateList> lists) override {
    if (!tree_) return scan_->search(queries, depth, guess, lists);
    tree_->search(queries, depth, guess, lists);
    if (guess) scan_unless_tree_pays();
  }
  void remove(std::span<const LatentId> ids) override {
    tree_ ? tree_->remove(ids) : scan_->remove(ids);
  }
  void describe(Stats& stats) const override {
    tree_ ? tree_->describe(stats) : scan_->describe(stats);
  }
  bool cheap_alone() const override { return tree_ != nullptr; }

 private:
  void scan_unless_tree_pays() {
    if (scan_ || (tree_ && tree_->worthwhile())) return;
    tree_.reset();
    scan_ = std::make_unique<CpuShortlist>(scorer_, free_, set_.scan, int16_allowed_, parallel_);
  }

  const Scorer& scorer_;
  const FreeLatents& free_;
  const InstructionSet& set_;
  bool int16_allowed_;
  Parallel& parallel_;
  std::unique_ptr<TreeShortlist> tree_;  // one of the two
  std::unique_ptr<CpuShortlist> scan_;
};

}  // namespace

Backend cpu_backend(const InstructionSet& set, int64_t memory, int64_t m, int64_t n, int64_t dim) {
  const auto within = [&](int64_t bytes) { return memory == 0 || memory >= bytes; };
  const int64_t base = work_bytes(m, n);
  require_memory(memory, base + LatentCodes::bytes_for(m, dim, CpuShortlist::coarsest(dim)));
  const bool int16 = within(base + LatentCodes::bytes_for(m, dim, Arithmetic::int16));
  const bool tree = within(base + DirectionTree::bytes_for(m, dim));
  return [&set, int16, tree](const Scorer& scorer, const FreeLatents& free,
                             std::span<const Query> first, Parallel& parallel) {
    return std::make_unique<CpuSearch>(scorer, free, first, set, tree, int16, parallel);
  };
}

}  // namespace gtn
