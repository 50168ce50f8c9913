// Implements linked_index.hpp.
#include "faiss/linked_index.hpp"

#include <faiss/Index.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <limits>
#include <mutex>
#include <stdexcept>

namespace gtn {
namespace {

// For fewer queries FAISS's own loop over rows is faster than a matrix product.
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

// While any thread is inside, FAISS multiplies matrices for batches of any size: its threshold is
// one for the whole process.
class BlasForAll {
 public:
  BlasForAll() {
    const std::lock_guard lock(mutex_);
    if (inside_++ > 0) return;
    before_ = faiss::distance_compute_blas_threshold;
    faiss::distance_compute_blas_threshold = 1;
  }
  ~BlasForAll() {
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0) faiss::distance_compute_blas_threshold = before_;
  }
  BlasForAll(const BlasForAll&) = delete;
  BlasForAll& operator=(const BlasForAll&) = delete;

 private:
  static inline std::mutex mutex_;
  static inline int inside_ = 0;
  static inline int before_ = 0;
};

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
  const auto find = [&] {
    faiss::float_minheap_array_t heaps{static_cast<size_t>(queries.count), static_cast<size_t>(k),
                                       positions.data(), scores.data()};
    faiss::knn_inner_product(queries.data, rows.data, static_cast<size_t>(rows.dim),
                             static_cast<size_t>(queries.count), static_cast<size_t>(rows.count),
                             &heaps);
  };
  if (queries.count < kFewestQueriesForBlas) return find();
  const BlasForAll blas;
  find();
}

}  // namespace gtn
