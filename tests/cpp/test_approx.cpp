// The approximate mode: pairs are one to one whatever an index misses, a source that it leaves with
// nothing is searched exactly; and the audit, which tells what sources would have taken.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/audit.hpp"
#include "cpu/backend_cpu.hpp"
#include "double_index.hpp"
#include "faiss/backend_faiss.hpp"
#include "reference.hpp"
#include "sets_to_test.hpp"

using reference::Data;
using reference::Kind;

namespace {

// Finds what the double finds, less a share of it.
class CarelessIndex final : public doubles::DoubleIndex {
 public:
  explicit CarelessIndex(double missed, int64_t beyond = 0)
      : DoubleIndex({.reads_rows = false}), missed_(missed), beyond_(beyond) {}

  int trained = 0;
  std::vector<int64_t> loaded;  // rows of each load

  void train(const gtn::FloatRows& rows) override {
    CHECK(rows.data != nullptr);
    ++trained;
  }
  void load(const gtn::FloatRows& rows) override {
    CHECK(trained > 0);
    loaded.push_back(rows.count);
    DoubleIndex::load(rows);
  }
  void search(const gtn::FloatRows& rows, const gtn::FloatRows& queries, int64_t k,
              std::span<float> scores, std::span<int64_t> positions) override {
    DoubleIndex::search(rows, queries, k, scores, positions);
    for (size_t i = 0; i < positions.size(); ++i) {
      const double lot = std::fabs(std::fmod(static_cast<double>(scores[i]) * 1e4, 1.0));
      if (lot <= missed_) {
        positions[i] = -1;
      } else if (beyond_ != 0) {
        positions[i] = beyond_;
      }
      scores[i] = std::nanf("");  // nobody may use them
    }
  }

 private:
  double missed_;
  int64_t beyond_;
};

struct Job {
  Data x, y;
  int64_t cone = 1;
  std::vector<int64_t> x_groups = {}, y_groups = {};
  std::vector<int64_t> assignment, visited;
  std::vector<double> cosine;
  gtn::Stats stats;

  Job(Kind kind, int64_t m, int64_t n, int64_t dim)
      : x(reference::make(kind, m, dim, 3)),
        y(reference::make(Kind::gaussian, n, dim, 4)),
        assignment(static_cast<size_t>(n), -1),
        visited(static_cast<size_t>(n), -1),
        cosine(static_cast<size_t>(n)) {}

  gtn::MatchInput input() const {
    gtn::MatchInput in;
    in.latents = x.rows("latents");
    in.sources = y.rows("sources");
    in.cone = cone;
    in.threads = 3;
    in.source_groups = y_groups.empty() ? nullptr : y_groups.data();
    in.latent_groups = x_groups.empty() ? nullptr : x_groups.data();
    return in;
  }
  gtn::Backend cpu() const { return gtn::cpu_backend(sets_to_test()[0], 0, x.n, y.n, x.dim); }
  void run(const gtn::Backend& backend) {
    const gtn::MatchInput in = input();
    int64_t done = 0;
    stats =
        gtn::match_rows(in, backend, {assignment.data(), cosine.data(), visited.data()}, done, {});
    REQUIRE(done == y.n);
  }
  void run_approx(gtn::InnerProductIndex& index) {
    const gtn::Backend exact = cpu();
    run(gtn::approx_backend(index, exact));
  }
  double score(int64_t latent, int64_t source) const {
    return reference::dot(x, latent, y, source) / std::sqrt(reference::dot(x, latent, x, latent));
  }
  double source_norm(int64_t source) const {
    return std::sqrt(reference::dot(y, source, y, source));
  }
  void check_pairs() const {
    std::vector<int64_t> sorted = assignment;
    std::sort(sorted.begin(), sorted.end());
    CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    for (int64_t i = 0; i < y.n; ++i) {
      const int64_t latent = assignment[static_cast<size_t>(i)];
      REQUIRE(latent >= 0);
      REQUIRE(latent < x.n);
      CHECK(cosine[static_cast<size_t>(i)] == score(latent, i) / source_norm(i));
      if (!x_groups.empty()) {
        CHECK(x_groups[static_cast<size_t>(latent)] == y_groups[static_cast<size_t>(i)]);
      }
    }
  }
};

// Audits all positions against a search by hand among what is free at each; cone as in the job.
// Latents must differ. Returns how many took another latent than the exact choice.
int64_t check_audit(const Job& job) {
  const auto n = static_cast<size_t>(job.y.n);
  std::vector<int64_t> positions(n), sources(n), latents(n);
  std::vector<double> cosines(n);
  std::iota(positions.begin(), positions.end(), int64_t{0});
  const gtn::MatchInput in = job.input();
  int64_t done = 0;
  gtn::audit_rows(in, job.cpu(), job.visited, positions,
                  {sources.data(), latents.data(), cosines.data()}, done, {});
  REQUIRE(done == job.y.n);
  std::vector<bool> taken(static_cast<size_t>(job.x.n), false);
  int64_t others = 0;
  for (size_t p = 0; p < n; ++p) {
    const int64_t source = sources[p];
    REQUIRE(job.assignment[static_cast<size_t>(source)] == job.visited[p]);
    std::vector<std::pair<double, double>> best;  // (-score, norm)
    for (int64_t j = 0; j < job.x.n; ++j) {
      if (taken[static_cast<size_t>(j)]) continue;
      if (!job.x_groups.empty() &&
          job.x_groups[static_cast<size_t>(j)] != job.y_groups[static_cast<size_t>(source)]) {
        continue;
      }
      best.emplace_back(-job.score(j, source), reference::dot(job.x, j, job.x, j));
    }
    const size_t k = std::min(static_cast<size_t>(job.cone), best.size());
    std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k), best.end());
    const auto choice =
        std::min_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    CHECK(-choice->first == job.score(latents[p], source));
    CHECK(cosines[p] == -choice->first / job.source_norm(source));
    others += latents[p] != job.visited[p];
    taken[static_cast<size_t>(job.visited[p])] = true;
  }
  return others;
}

}  // namespace

TEST_CASE("pairs are one to one, whatever the index misses") {
  for (const Kind kind : {Kind::gaussian, Kind::off_centre, Kind::lattice, Kind::heavy}) {
    CAPTURE(static_cast<int>(kind));
    for (const double missed : {0.0, 0.6, 0.97, 1.0}) {
      CAPTURE(missed);
      Job job(kind, 1500, 1400, 12);
      CarelessIndex index(missed);
      job.run_approx(index);
      job.check_pairs();
      CHECK(index.trained == 1);
      CHECK(job.stats.arithmetic.find("approx") == 0);
      if (missed == 1.0) {  // nothing found: every source was searched exactly
        Job exact(kind, 1500, 1400, 12);
        exact.run(exact.cpu());
        CHECK(job.assignment == exact.assignment);
        CHECK(job.stats.retries > 1000);
      }
    }
  }
}

TEST_CASE("an index that misses nothing loses nothing") {
  for (const int64_t cone : {1, 5}) {
    Job job(Kind::gaussian, 1500, 1500, 12);
    job.cone = cone;
    CarelessIndex index(-1.0);
    job.run_approx(index);
    CHECK(check_audit(job) == 0);
  }
}

TEST_CASE("the audit finds the exact choice among what was free") {
  for (const int64_t cone : {1, 4}) {
    CAPTURE(cone);
    Job job(Kind::gaussian, 700, 600, 9);
    job.cone = cone;
    CarelessIndex index(0.6);
    job.run_approx(index);
    const int64_t others = check_audit(job);
    CHECK(others > 60);
    CHECK(others < 600);
  }
}

TEST_CASE("each group has an index of its own") {
  Job job(Kind::gaussian, 1400, 1200, 8);
  for (int64_t j = 0; j < 1400; ++j) job.x_groups.push_back(j % 2);
  for (int64_t j = 0; j < 1200; ++j) job.y_groups.push_back(j % 2);
  CarelessIndex index(0.5);
  job.run_approx(index);
  job.check_pairs();
  CHECK(index.trained == 2);
  CHECK(check_audit(job) > 50);
}

TEST_CASE("the index is filled anew when half of it is gone, and left for the last latents") {
  Job job(Kind::gaussian, 4000, 4000, 10);
  CarelessIndex index(-1.0);
  job.run_approx(index);
  REQUIRE(index.loaded.size() >= 4);
  CHECK(index.trained == 1);
  CHECK(index.loaded[0] == 4000);
  for (size_t i = 1; i < index.loaded.size(); ++i) {
    CHECK(2 * index.loaded[i] <= index.loaded[i - 1]);
    CHECK(5 * index.loaded[i] > 2 * index.loaded[i - 1]);
    CHECK(16 * index.loaded[i] > 4000);
  }
  CHECK(job.stats.arithmetic.size() > std::string("approx").size());
}

TEST_CASE("an index that returns rows that are not there is an error") {
  for (const int64_t beyond : {int64_t{1500}, int64_t{-2}, int64_t{1} << 40}) {
    Job job(Kind::gaussian, 1500, 1500, 5);
    CarelessIndex index(0.5, beyond);
    CHECK_THROWS_AS(job.run_approx(index), std::runtime_error);
  }
}

TEST_CASE("the audit refuses pairs that cannot have been made") {
  Job job(Kind::gaussian, 300, 300, 4);
  job.run(job.cpu());
  CHECK(check_audit(job) == 0);
  job.visited[7] = job.visited[6];
  std::vector<int64_t> positions{250}, row(1);
  std::vector<double> cosine(1);
  const gtn::MatchInput in = job.input();
  int64_t done = 0;
  CHECK_THROWS_AS(gtn::audit_rows(in, job.cpu(), job.visited, positions,
                                  {row.data(), row.data(), cosine.data()}, done, {}),
                  std::invalid_argument);
}
