// Backends read the source rows of queries and no others: on many machines others are not there.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>

#include "core/exact_scan.hpp"
#include "core/line_scan.hpp"
#include "cpu/backend_cpu.hpp"
#include "double_index.hpp"
#include "faiss/backend_faiss.hpp"
#include "promise.hpp"
#include "sets_to_test.hpp"

namespace {

constexpr int64_t kLatents = 2500;

// Sources of which all but one page are unmapped: reading another row ends the process.
class NamedSources {
 public:
  explicit NamedSources(int64_t dim) : dim_(dim) {
    const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
    bytes_ = static_cast<size_t>(kPages * page);
    memory_ = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory_ != MAP_FAILED);
    const int64_t begin = kPages / 2 * page, row = dim * 4;
    char* const named = static_cast<char*>(memory_) + begin;
    REQUIRE(mprotect(named, static_cast<size_t>(page), PROT_READ | PROT_WRITE) == 0);
    std::mt19937_64 random(7);
    std::normal_distribution<float> normal;
    auto* const values = reinterpret_cast<float*>(named);
    for (int64_t i = 0; i < page / 4; ++i) values[i] = normal(random);
    first_ = (begin + row - 1) / row;
    count_ = (begin + page) / row - first_;
  }
  ~NamedSources() { munmap(memory_, bytes_); }
  NamedSources(const NamedSources&) = delete;
  NamedSources& operator=(const NamedSources&) = delete;

  gtn::Rows rows() const {
    gtn::Rows all;
    all.data = memory_;
    all.count = static_cast<int64_t>(bytes_) / (dim_ * 4);
    all.dim = dim_;
    all.name = "sources";
    return all;
  }
  std::vector<gtn::Query> queries() const {
    std::vector<gtn::Query> found;
    for (int64_t row = first_; row < first_ + count_; ++row) {
      found.push_back(
          {static_cast<gtn::SourceRow>(row), std::sqrt(gtn::squared_norm(rows(), row))});
    }
    return found;
  }

 private:
  static constexpr int64_t kPages = 33;
  int64_t dim_, first_ = 0, count_ = 0;
  size_t bytes_ = 0;
  void* memory_ = nullptr;
};

// Latents, and sources of which few are there.
struct Part {
  reference::Data x;
  NamedSources y;
  gtn::Parallel parallel{2};
  std::vector<double> xn;
  gtn::Scorer scorer;
  gtn::DistinctLatents distinct;
  gtn::FreeLatents free;

  explicit Part(int64_t dim)
      : x(reference::make(reference::Kind::gaussian, kLatents, dim, 11)),
        y(dim),
        xn(gtn::checked_norms(x.rows("latents"), parallel)),
        scorer(x.rows("latents"), y.rows()),
        distinct(scorer, reference::all_rows(x.n), xn, parallel),
        free(distinct) {}

  void search(gtn::Shortlist& shortlist) {
    const std::vector<gtn::Query> queries = y.queries();
    std::vector<gtn::CandidateList> lists(queries.size());
    for (const bool guess : {true, true, false}) shortlist.search(queries, 4, guess, lists);
    shortlist.search({&queries[3], 1}, 1, false, {lists.data() + 3, 1});
    for (const gtn::CandidateList& list : lists) CHECK(!list.items.empty());
    const gtn::LatentId gone = 0;  // there are two in one dimension, one of each sign
    while (free.is_free(gone)) free.take(gone);
    shortlist.remove({&gone, 1});
    shortlist.search(queries, 4, true, lists);
  }
  std::string search(const gtn::Backend& backend) {
    const std::vector<gtn::Query> queries = y.queries();
    const std::unique_ptr<gtn::Shortlist> shortlist = backend(scorer, free, queries, parallel);
    gtn::Stats stats;
    shortlist->describe(stats);
    search(*shortlist);
    return stats.arithmetic;
  }
};

}  // namespace

TEST_CASE("backends of the cpu read the sources of queries alone") {
  for (const gtn::InstructionSet& set : sets_to_test()) {
    CAPTURE(std::string(set.name));
    for (const int64_t dim : {2, 3, 16, 40}) {
      Part part(dim);
      const gtn::Backend backend = gtn::cpu_backend(set, 0, kLatents, kLatents, dim);
      const bool tree = part.search(backend) == "float32";
      CHECK(tree == (dim < 4));  // chosen by the queries' walks
    }
  }
}

TEST_CASE("backends over an index read the sources of queries alone") {
  Part part(8);
  doubles::DoubleIndex index({});
  part.search(gtn::faiss_backend(index, 0, kLatents, kLatents, 8));
  const gtn::InstructionSet& set = sets_to_test()[0];
  doubles::DoubleIndex copies({false});
  part.search(gtn::approx_backend(copies, gtn::cpu_backend(set, 0, kLatents, kLatents, 8)));
}

TEST_CASE("exact scans read the sources of queries alone") {
  Part part(3), line(1);
  gtn::ExactScan scan(part.scorer, part.free, part.parallel);
  part.search(scan);
  gtn::LineScan on_line(line.scorer, line.free, line.parallel);
  line.search(on_line);
}
