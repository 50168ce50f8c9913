// BlockSearch: one search of many queries in many rows, as calls to the library that each take a
// fraction of a second, so that an interrupt is served, and that all threads share. A library that
// takes concurrent calls runs each on one thread: that was 1.7 times as fast, measured on two
// cores, as one call on all threads, whose matrix products and heaps wait for each other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/parallel.hpp"
#include "faiss/inner_product_index.hpp"

namespace gtn {

class BlockSearch {
 public:
  // Results of one call for queries [first, first + scores.size() / k) among the rows from
  // first_row on; positions count from there. Calls for the same queries come one at a time.
  struct Found {
    int64_t first;
    int64_t first_row;
    int64_t rows;
    int64_t k;
    std::span<const float> scores;
    std::span<const int64_t> positions;
  };

  BlockSearch(InnerProductIndex& index, Parallel& parallel);

  void run(const FloatRows& rows, const FloatRows& queries, int64_t k,
           FunctionRef<void(const Found&)> on_found);

 private:
  struct Scratch {
    std::vector<float> scores;
    std::vector<int64_t> positions;
  };
  void call(const FloatRows& rows, const FloatRows& queries, int64_t first, int64_t first_row,
            int64_t k, Scratch& scratch, Found& found);

  InnerProductIndex& index_;
  Parallel& parallel_;
  std::vector<Scratch> scratch_;  // by thread
  double products_a_second_;      // of one call
};

}  // namespace gtn
