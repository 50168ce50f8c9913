// AuctionStats: what an auction has done.
#pragma once

#include <cstdint>

namespace gtn {

struct AuctionStats {
  int64_t phases = 0, rounds = 0, bids = 0;
  int64_t scans = 0;       // sources searched
  int64_t full_scans = 0;  // of these, by scoring every latent exactly
  int64_t batches = 0;     // searches
  struct Seconds {
    double search = 0, choose = 0, sell = 0, measure = 0;
  } seconds;
};

}  // namespace gtn
