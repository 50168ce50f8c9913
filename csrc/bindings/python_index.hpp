// PythonIndex: an InnerProductIndex whose work a Python object does
// (gtn_label/backend/faiss_exact.py), so that the installed FAISS package can search. Takes the GIL
// for each call; FAISS gives it back while it computes.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/gil.hpp"
#include "faiss/inner_product_index.hpp"

namespace gtn {

class PythonIndex final : public InnerProductIndex {
 public:
  // Has reads_rows, concurrent, most_k, search(rows, queries, k): (scores, positions), where rows
  // is None for an index that does not read them; such a one has load(rows), an approximate one
  // also train(rows).
  explicit PythonIndex(pybind11::object index);

  bool reads_rows() const override { return reads_rows_; }
  bool concurrent() const override { return concurrent_; }
  int64_t most_k() const override { return most_k_; }
  void train(const FloatRows& rows) override;
  void load(const FloatRows& rows) override;
  void search(const FloatRows& rows, const FloatRows& queries, int64_t k, std::span<float> scores,
              std::span<int64_t> positions) override;

 private:
  pybind11::object index_;
  unsigned began_ = gil::generation;
  bool reads_rows_;
  bool concurrent_;
  int64_t most_k_;
};

}  // namespace gtn
