// Exchange: the one collective that machines need to match together. All of them call it in the
// same order, with as many bytes each.
#pragma once

#include <cstddef>
#include <span>

namespace gtn {

class Exchange {
 public:
  Exchange() = default;
  virtual ~Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  virtual int rank() const = 0;
  virtual int world() const = 0;
  // received: world() times as long as `sent`; what each sent, in the order of ranks.
  virtual void all_gather(std::span<const std::byte> sent, std::span<std::byte> received) = 0;
};

}  // namespace gtn
