// The FAISS backend: exhaustive search by an index that FAISS gives; and the approximate one.
#pragma once

#include "core/match.hpp"
#include "faiss/inner_product_index.hpp"

namespace gtn {

// A backend over `index`, which must outlive it, within `memory` bytes of work space (0: no limit).
// Throws std::invalid_argument with the bytes needed if that is too little for m latents and n
// sources.
Backend faiss_backend(InnerProductIndex& index, int64_t memory, int64_t m, int64_t n, int64_t dim);

// The approximate backend over `index`, which must outlive it, for match_approx alone
// (shortlist_approx.hpp). `exact` searches where the index does not.
Backend approx_backend(InnerProductIndex& index, Backend exact);

}  // namespace gtn
