#include "faiss/backend_faiss.hpp"

#include <utility>

#include "faiss/shortlist_approx.hpp"
#include "faiss/shortlist_faiss.hpp"

namespace gtn {

Backend faiss_backend(InnerProductIndex& index, int64_t memory, int64_t m, int64_t n, int64_t dim) {
  require_memory(memory, work_bytes(m, n) + UnitRows::bytes_for(m, dim));
  return [&index](const Scorer& scorer, const FreeLatents& free, std::span<const Query>,
                  Parallel& parallel) {
    return std::make_unique<FaissShortlist>(scorer, free, index, parallel);
  };
}

Backend approx_backend(InnerProductIndex& index, Backend exact) {
  return [&index, exact = std::move(exact)](const Scorer& scorer, const FreeLatents& free,
                                            std::span<const Query>, Parallel& parallel) {
    return std::make_unique<ApproxShortlist>(scorer, free, index, exact, parallel);
  };
}

}  // namespace gtn
