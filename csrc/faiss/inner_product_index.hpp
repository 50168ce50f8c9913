// InnerProductIndex: finds rows of large inner product with given vectors, in float32.
// The one adapter between the shortlists (shortlist_faiss.hpp, shortlist_approx.hpp) and the ways
// to the library: the installed Python package (bindings/python_index.hpp) and the C++ library that
// this extension was linked with (linked_index.hpp). No header of FAISS is included here.
#pragma once

#include <cstdint>
#include <span>

namespace gtn {

// Row-major float32, [count, dim].
struct FloatRows {
  const float* data = nullptr;
  int64_t count = 0;
  int64_t dim = 0;

  FloatRows part(int64_t first, int64_t size) const { return {data + first * dim, size, dim}; }
};

class InnerProductIndex {
 public:
  virtual ~InnerProductIndex() = default;

  // True if search() reads the rows that it is given. Otherwise it searches the copy that load()
  // made, and every search is over all of them.
  virtual bool reads_rows() const = 0;
  // True if several threads may call search() at once; each call then takes one thread.
  virtual bool concurrent() const = 0;
  // The most rows a search may ask for.
  virtual int64_t most_k() const = 0;

  // Learns from rows what it needs for others like them; for an approximate index. What it learnt
  // before is void.
  virtual void train(const FloatRows&) {}
  // Copies the rows to be searched from now on. For an index that does not read them later.
  virtual void load(const FloatRows& rows) = 0;

  // For each query, k <= rows.count rows of large inner product, in any order: their positions, -1
  // for none, and the inner products as they were computed. scores, positions: [queries.count, k]
  virtual void search(const FloatRows& rows, const FloatRows& queries, int64_t k,
                      std::span<float> scores, std::span<int64_t> positions) = 0;
};

}  // namespace gtn
