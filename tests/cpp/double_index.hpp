// A double of FAISS for tests without it: an InnerProductIndex that does everything FAISS leaves
// open. Its scores are float32 sums whose order changes with the batch, ties and results come in
// any order, k is limited; a cruel one errs as far as the bound of float32 allows, in one direction
// when it compares and in the other when it returns. Shares no code with the engine. It throws
// std::logic_error when the engine breaks the interface's rules.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "faiss/inner_product_index.hpp"

namespace doubles {

struct Habits {
  bool reads_rows = true;
  bool concurrent = true;
  bool cruel = false;
  int64_t most_k = int64_t{1} << 30;
};

// A sum of products in float32, in one of kOrders orders.
constexpr int kOrders = 5;
float inner_product(const float* a, const float* b, int64_t dim, int order);

class DoubleIndex : public gtn::InnerProductIndex {
 public:
  explicit DoubleIndex(const Habits& habits) : habits_(habits) {}

  bool reads_rows() const override { return habits_.reads_rows; }
  bool concurrent() const override { return habits_.concurrent; }
  int64_t most_k() const override { return habits_.most_k; }
  void load(const gtn::FloatRows& rows) override;
  void search(const gtn::FloatRows& rows, const gtn::FloatRows& queries, int64_t k,
              std::span<float> scores, std::span<int64_t> positions) override;

  int64_t loads() const { return loads_; }

 private:
  // The score that decides what is returned, and the one that is.
  struct Scored {
    double compared;
    float returned;
    uint64_t lot;  // decides between equal ones
    int64_t position;
  };
  Scored score(const float* query, const float* row, int64_t dim, uint64_t lot) const;

  Habits habits_;
  std::vector<float> copy_;
  gtn::FloatRows copied_;
  int64_t loads_ = 0;
  std::atomic<int> inside_{0};
};

}  // namespace doubles
