#include "faiss/linked_index.hpp"

#include <dlfcn.h>
#include <faiss/Index.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <limits>
#include <mutex>
#include <stdexcept>

namespace gtn {
namespace {

// For fewer queries the own loop of a FAISS built with SIMD is faster than a matrix product. From
// here on no BLAS was slower than the loop, at any dimension: neither the reference BLAS beside
// Debian's FAISS, whose loop is as scalar, nor OpenBLAS, which is up to 25 times as fast.
constexpr int64_t kFewestQueriesForBlas = 16;

// OpenMP has the number of threads by thread.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// A setting of the whole process, to be 1 while any thread is inside and then what it was.
class Setting {
 public:
  using Get = int (*)();
  using Set = void (*)(int);
  Setting(Get get, Set set) : get_(get), set_(set) {}

  void enter() {
    const std::lock_guard lock(mutex_);
    if (inside_++ > 0 || !get_ || !set_) return;
    before_ = get_();
    set_(1);
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0 && get_ && set_) set_(before_);
  }

 private:
  std::mutex mutex_;
  Get get_;
  Set set_;
  int inside_ = 0;
  int before_ = 0;
};

class Inside {
 public:
  explicit Inside(Setting& setting) : setting_(setting) { setting_.enter(); }
  ~Inside() { setting_.leave(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Setting& setting_;
};

// From how many queries on (later releases: numbers in them) FAISS multiplies matrices.
Setting& blas_threshold() {
  static Setting setting([] { return faiss::distance_compute_blas_threshold; },
                         [](int value) { faiss::distance_compute_blas_threshold = value; });
  return setting;
}

// OpenBLAS's usual build has threads of its own, for which the engine's would wait. Looked up when
// it runs, because which BLAS FAISS meets is decided then (Debian: update-alternatives). Those
// whose threads are OpenMP's need no more than OneThread.
Setting& openblas_threads() {
  static Setting setting(
      reinterpret_cast<Setting::Get>(dlsym(RTLD_DEFAULT, "openblas_get_num_threads")),
      reinterpret_cast<Setting::Set>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads")));
  return setting;
}

}  // namespace

std::string linked_faiss_version() {
  return std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." +
         std::to_string(FAISS_VERSION_PATCH);
}

int64_t LinkedFlatIndex::most_k() const {
  return std::numeric_limits<int32_t>::max();
}

void LinkedFlatIndex::load(const FloatRows&) {
  throw std::logic_error("an index that reads rows is not loaded");
}

void LinkedFlatIndex::search(const FloatRows& rows, const FloatRows& queries, int64_t k,
                             std::span<float> scores, std::span<int64_t> positions) {
  const OneThread one;
  const Inside on_one_thread(openblas_threads());
  const auto find = [&] {
    faiss::knn_inner_product(queries.data, rows.data, rows.dim, queries.count, rows.count, k,
                             scores.data(), positions.data());
  };
  if (queries.count < kFewestQueriesForBlas) return find();
  const Inside multiplying(blas_threshold());
  find();
}

}  // namespace gtn
