// The FAISS backend over doubles of its index: the promise of the Shortlist interface, the whole
// job against the CPU backend, and indexes that break FAISS's word. With the C++ library linked,
// the same over that (the end of this file).
#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>

#include "core/match.hpp"
#include "cpu/backend_cpu.hpp"
#include "double_index.hpp"
#include "faiss/backend_faiss.hpp"
#include "faiss/shortlist_faiss.hpp"
#include "promise.hpp"
#include "sets_to_test.hpp"

#if defined(GTN_FAISS_LINKED)
#include <faiss/utils/distances.h>
#include <omp.h>

#include "faiss/linked_index.hpp"
#endif

using doubles::DoubleIndex;
using doubles::Habits;
using promise::Bench;
using reference::Data;
using reference::Kind;

namespace {

// Every way for an index to behave, each with a k that is short for lists and one that is not.
std::vector<Habits> all_habits() {
  std::vector<Habits> all;
  for (const bool cruel : {false, true}) {
    for (const int64_t most_k : {9, 1 << 30}) {
      all.push_back({true, true, cruel, most_k});
      all.push_back({true, false, cruel, most_k});
      all.push_back({false, false, cruel, most_k});
    }
  }
  return all;
}

struct Result {
  std::vector<int64_t> assignment, visited;
  std::vector<double> cosine;
  gtn::Stats stats;
};

Result match(const Data& x, const Data& y, int64_t cone, int threads, bool center,
             const gtn::Backend& backend) {
  gtn::MatchInput in;
  in.latents = x.rows("latents");
  in.sources = y.rows("sources");
  in.cone = cone;
  in.threads = threads;
  in.center = center;
  const auto n = static_cast<size_t>(y.n);
  Result r{std::vector<int64_t>(n), std::vector<int64_t>(n), std::vector<double>(n), {}};
  int64_t done = 0;
  r.stats = gtn::match_rows(in, backend, {r.assignment.data(), r.cosine.data(), r.visited.data()},
                            done, {});
  return r;
}

Result match_on_cpu(const Data& x, const Data& y, int64_t cone, bool center = false) {
  return match(x, y, cone, 2, center, gtn::cpu_backend(sets_to_test()[0], 0, x.n, y.n, x.dim));
}

Result match_with(gtn::InnerProductIndex& index, const Data& x, const Data& y, int64_t cone = 1,
                  int threads = 2, bool center = false) {
  return match(x, y, cone, threads, center, gtn::faiss_backend(index, 0, x.n, y.n, x.dim));
}

void check_promise(gtn::InnerProductIndex& index, Bench& b) {
  gtn::FaissShortlist shortlist(b.scorer, b.free, index, b.parallel);
  for (int round = 0; round < 4; ++round) {
    const int64_t depth = round % 2 == 0 ? 1 : 20;
    b.check(shortlist, depth, -2.0, true);
    b.check(shortlist, depth, 0.1, false);
    shortlist.remove(b.take(round, 6));
  }
  b.check(shortlist, 4, -2.0, true);
}

}  // namespace

TEST_CASE("the shortlist keeps its promise, whatever the index leaves open") {
  for (const Kind kind : reference::kKinds) {
    CAPTURE(static_cast<int>(kind));
    for (const int64_t dim : {2, 40}) {
      CAPTURE(dim);
      for (const Habits& habits : all_habits()) {
        Bench b(kind, 900, dim);
        DoubleIndex index(habits);
        check_promise(index, b);
        // A copy is made anew once after each removal of a sixth, and not again.
        CHECK(index.loads() == (habits.reads_rows ? 0 : 5));
      }
    }
  }
}

TEST_CASE("latents that float32 hardly tells apart") {
  // Every score but a few lies within the bound of the next, on either side of where lists end.
  Data x = reference::make(Kind::gaussian, 900, 60, 15);
  x.f64.assign(x.f32.begin(), x.f32.end());
  for (int64_t i = 0; i < x.n; ++i) {
    for (int64_t k = 0; k < x.dim; ++k) {
      double& v = x.f64[static_cast<size_t>(i * x.dim + k)];
      v = (k % 2 == 0 ? 1.0 : -1.0) * (i % 2 == 0 ? 1.0 : -1.0) + 1e-5 * v;
    }
  }
  for (const Habits& habits : all_habits()) {
    if (!habits.cruel) continue;
    for (const bool center : {false, true}) {
      Bench b(x, reference::make(Kind::gaussian, 20, 60, 16), center);
      DoubleIndex index(habits);
      check_promise(index, b);
    }
  }
}

TEST_CASE("as many latents as a list takes, and one or two more") {
  for (const Kind kind : {Kind::gaussian, Kind::tight_clusters}) {
    for (const int64_t n : {1, 2, 15, 16, 17, 18, 255, 256, 257, 258}) {
      for (const Habits& habits : all_habits()) {
        Bench b(kind, n, 8);
        DoubleIndex index(habits);
        gtn::FaissShortlist shortlist(b.scorer, b.free, index, b.parallel);
        b.check(shortlist, 4, -2.0, true);
        b.check(shortlist, 4, 0.1, false);
      }
    }
  }
}

TEST_CASE("one block or many: the same bounds") {
  // More rows than a call takes.
  for (const Habits& habits : all_habits()) {
    Bench b(Kind::clusters, 20000, 24);
    DoubleIndex index(habits);
    gtn::FaissShortlist shortlist(b.scorer, b.free, index, b.parallel);
    b.check(shortlist, 5, -2.0, true);
    shortlist.remove(b.take(1, 20));
    b.check(shortlist, 5, -2.0, false);
  }
}

TEST_CASE("with any index the pairs are those of the CPU backend") {
  int64_t retries = 0, full_scans = 0, loads = 0;
  for (const Kind kind : reference::kKinds) {
    CAPTURE(static_cast<int>(kind));
    for (const int64_t cone : {1, 8}) {
      const int64_t dim = cone == 1 ? 24 : 3;
      const Data x = reference::make(kind, 700, dim, 41);
      const Data y = reference::make(Kind::gaussian, 600, dim, 42);
      const Result expected = match_on_cpu(x, y, cone);
      for (const Habits& habits : all_habits()) {
        DoubleIndex index(habits);
        const Result r = match_with(index, x, y, cone, habits.concurrent ? 3 : 2);
        CHECK(r.assignment == expected.assignment);
        CHECK(r.cosine == expected.cosine);
        CHECK(r.visited == expected.visited);
        retries += r.stats.retries;
        full_scans += r.stats.full_scans;
        loads += index.loads();
      }
    }
  }
  // Lists that cannot certify, and copies made anew, are part of it.
  CHECK(retries > 0);
  CHECK(full_scans > 0);
  CHECK(loads > 100);
}

TEST_CASE("centred and extreme latents: the pairs are those of the CPU backend") {
  for (const double scale : {1e-150, 1.0, 1e150}) {
    Data x = reference::make(Kind::wide, 600, 12, 43);
    const Data y = reference::make(Kind::wide, 600, 12, 44);
    for (double& v : x.f64) v = scale * (v + 3.0);
    for (const bool center : {false, true}) {
      const Result expected = match_on_cpu(x, y, 1, center);
      for (const bool cruel : {false, true}) {
        DoubleIndex index({true, true, cruel, 1 << 30});
        const Result r = match_with(index, x, y, 1, 2, center);
        CHECK(r.assignment == expected.assignment);
        CHECK(r.cosine == expected.cosine);
      }
    }
  }
}

// --- Indexes that break FAISS's word: an error or the right pairs, never others ------------------

namespace {

// Spoils what a good index found.
class Broken final : public gtn::InnerProductIndex {
 public:
  using Spoil = std::function<void(int64_t rows, int64_t k, std::span<float>, std::span<int64_t>)>;
  Broken(bool reads_rows, Spoil spoil)
      : good_({reads_rows, true, false, 50}), spoil_(std::move(spoil)) {}
  bool reads_rows() const override { return good_.reads_rows(); }
  bool concurrent() const override { return true; }
  int64_t most_k() const override { return good_.most_k(); }
  void load(const gtn::FloatRows& rows) override { good_.load(rows); }
  void search(const gtn::FloatRows& rows, const gtn::FloatRows& queries, int64_t k,
              std::span<float> scores, std::span<int64_t> positions) override {
    good_.search(rows, queries, k, scores, positions);
    spoil_(rows.count, k, scores, positions);
  }

 private:
  DoubleIndex good_;
  Spoil spoil_;
};

}  // namespace

TEST_CASE("an index that returns what cannot be is found out") {
  const Data x = reference::make(Kind::gaussian, 500, 10, 45);
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::pair<std::string, Broken::Spoil>> ways{
      {"nan", [](int64_t, int64_t, auto scores, auto) { scores.back() = kNaN; }},
      {"-inf", [](int64_t, int64_t, auto s, auto) { s[0] = -std::numeric_limits<float>::max(); }},
      {"inf", [](int64_t, int64_t, auto s, auto) { s[0] = 2 * std::numeric_limits<float>::max(); }},
      {"row", [](int64_t rows, int64_t, auto, auto positions) { positions[0] = rows; }},
      {"row", [](int64_t, int64_t, auto, auto positions) { positions.back() = -2; }},
      {"row", [](int64_t, int64_t, auto, auto positions) { positions[0] = int64_t{1} << 40; }},
  };
  for (const bool reads_rows : {true, false}) {
    for (const auto& [name, spoil] : ways) {
      CAPTURE(name);
      Broken index(reads_rows, spoil);
      std::string message;
      try {
        match_with(index, x, x);
      } catch (const std::runtime_error& e) {
        message = e.what();
      }
      CHECK(message.rfind("FAISS returned row ", 0) == 0);
      CHECK(message.find("rows of norm at most 2") != std::string::npos);
    }
  }
}

TEST_CASE("rows that an index holds back cost time, not the right pairs") {
  const Data x = reference::make(Kind::gaussian, 500, 10, 46);
  const Result expected = match_on_cpu(x, x, 1);
  const std::vector<Broken::Spoil> ways{
      [](int64_t, int64_t, auto, auto positions) {  // the best, and now and then everything
        if (positions[0] % 3 == 0) std::fill(positions.begin(), positions.end(), -1);
        positions[0] = -1;
      },
      [](int64_t, int64_t k, auto scores, auto positions) {
        for (size_t i = 0; i < positions.size(); i += static_cast<size_t>(k)) {
          size_t best = i;
          for (size_t j = i; j < i + static_cast<size_t>(k); ++j) {
            if (scores[j] > scores[best]) best = j;
          }
          positions[best] = -1;
          scores[best] = std::numeric_limits<float>::quiet_NaN();
        }
      },
  };
  for (const bool reads_rows : {true, false}) {
    for (const auto& spoil : ways) {
      Broken index(reads_rows, spoil);
      const Result r = match_with(index, x, x);
      CHECK(r.assignment == expected.assignment);
      CHECK(r.cosine == expected.cosine);
      CHECK(r.stats.full_scans > 0);
    }
  }
}

TEST_CASE("an index that throws ends the run with its exception") {
  const Data x = reference::make(Kind::gaussian, 500, 10, 47);
  for (const int at : {0, 3}) {
    std::atomic<int> calls{0};
    Broken index(true, [&](int64_t, int64_t, auto, auto) {
      if (calls++ == at) throw std::bad_alloc();
    });
    CHECK_THROWS_AS(match_with(index, x, x), std::bad_alloc);
  }
}

TEST_CASE("a memory budget for FAISS: refused with the bytes needed, or the same pairs") {
  const Data x = reference::make(Kind::gaussian, 500, 10, 48);
  DoubleIndex index({});
  const int64_t least = gtn::work_bytes(500, 500) + gtn::UnitRows::bytes_for(500, 10);
  const std::string message = "memory must be at least " + std::to_string(least) +
                              " bytes for this input, got " + std::to_string(least - 1);
  CHECK_THROWS_WITH_AS(gtn::faiss_backend(index, least - 1, 500, 500, 10), message.c_str(),
                       std::invalid_argument);
  const Result r = match(x, x, 1, 2, false, gtn::faiss_backend(index, least, 500, 500, 10));
  CHECK(r.assignment == match_on_cpu(x, x, 1).assignment);
  CHECK(r.stats.work_bytes <= least);
  CHECK(r.stats.arithmetic == "float32");
}

// --- The linked library --------------------------------------------------------------------------

#if defined(GTN_FAISS_LINKED)

TEST_CASE("the linked FAISS keeps the promise and gives the pairs of the CPU backend") {
  for (const Kind kind : reference::kKinds) {
    CAPTURE(static_cast<int>(kind));
    for (const int64_t dim : {1, 3, 40, 257}) {
      Bench b(kind, 2200, dim);
      gtn::LinkedFlatIndex index;
      check_promise(index, b);
    }
    const Data x = reference::make(kind, 3000, 24, 51);
    const Data y = reference::make(Kind::gaussian, 2800, 24, 52);
    const Result expected = match_on_cpu(x, y, 4);
    for (const int threads : {1, 2, 3}) {
      gtn::LinkedFlatIndex index;
      const Result r = match_with(index, x, y, 4, threads);
      CHECK(r.assignment == expected.assignment);
      CHECK(r.cosine == expected.cosine);
    }
  }
}

TEST_CASE("settings that the linked FAISS shares with the process are put back") {
  const int threshold = faiss::distance_compute_blas_threshold;
  const int threads = omp_get_max_threads();
  faiss::distance_compute_blas_threshold = 77;
  omp_set_num_threads(5);
  const Data x = reference::make(Kind::gaussian, 9000, 20, 53);
  gtn::LinkedFlatIndex index;
  match_with(index, x, x, 1, 3);
  CHECK(faiss::distance_compute_blas_threshold == 77);
  CHECK(omp_get_max_threads() == 5);
  faiss::distance_compute_blas_threshold = threshold;
  omp_set_num_threads(threads);
}

#endif
