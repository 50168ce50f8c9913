// Indexes of the FAISS C++ library that this build is linked with (CMake option GTN_FAISS). The
// only files that include FAISS's headers are linked_index.cpp and what it needs; without the
// library neither is built.
#pragma once

#include <string>

#include "faiss/inner_product_index.hpp"

namespace gtn {

std::string linked_faiss_version();

// Exhaustive search on the CPU, over the engine's own rows.
class LinkedFlatIndex final : public InnerProductIndex {
 public:
  bool reads_rows() const override { return true; }
  bool concurrent() const override { return true; }
  int64_t most_k() const override;
  void load(const FloatRows& rows) override;
  void search(const FloatRows& rows, const FloatRows& queries, int64_t k, std::span<float> scores,
              std::span<int64_t> positions) override;
};

}  // namespace gtn
