// Collective: an exchange with what solvers over many machines share: a hash of all that they
// decided rides in each message, so that machines that disagree end the run; and records of all
// machines, however many each has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "core/exchange.hpp"
#include "core/function_ref.hpp"

namespace gtn {

struct ShardedStats {
  int64_t collectives = 0;
  int64_t received = 0;  // bytes
  struct Seconds {
    double exchange = 0, merge = 0;
  } seconds;
};

class Collective {
 public:
  // first: the bytes of a message that travel with the hash. Where machines that disagree would
  // send messages of unlike lengths, no exchange can tell what happens, so that the rest has to
  // wait until they agree. Without it all goes at once.
  Collective(Exchange& exchange, ShardedStats& stats, std::optional<int64_t> first = {})
      : exchange_(exchange), stats_(stats), world_(exchange.world()), first_(first) {}

  int64_t world() const { return world_; }
  ShardedStats& stats() { return stats_; }

  // Adds to the hash of what was decided, on every machine alike.
  void note(uint64_t decided);
  // Sends as many bytes on every machine. Throws std::runtime_error, on every machine, if they did
  // not decide alike.
  void all_gather(std::span<const std::byte> sent);
  // What a machine sent last.
  std::span<const std::byte> received(int64_t rank) const;
  void agree() { all_gather({}); }

  // Calls visit with each record of every machine, those of one in their order.
  template <class T>
  void for_each(std::span<const T> own, FunctionRef<void(const T&)> visit) {
    static_assert(std::is_trivially_copyable_v<T>);
    for_each_of_bytes(std::as_bytes(own), sizeof(T), [&](const std::byte* from) {
      T record;
      std::memcpy(&record, from, sizeof(T));
      visit(record);
    });
  }
  // Puts the values of every machine where each says that they belong.
  template <class T>
  void place(std::span<const int64_t> places, std::span<const T> values, std::vector<T>& all) {
    struct Placed {
      int64_t place;
      T value;
    };
    std::vector<Placed> own(places.size());
    for (size_t i = 0; i < own.size(); ++i) own[i] = {places[i], values[i]};
    for_each<Placed>(own, [&](const Placed& p) { all[p.place] = p.value; });
  }
  // Like for_each, for records of `size` bytes.
  void for_each_of_bytes(std::span<const std::byte> own, int64_t size,
                         FunctionRef<void(const std::byte*)> visit);

 private:
  struct Header {
    uint64_t decided;
    int64_t bytes;
  };

  void exchange(std::span<const std::byte> sent, std::span<std::byte> received);
  void compare(int64_t size) const;

  Exchange& exchange_;
  ShardedStats& stats_;
  const int64_t world_;
  const std::optional<int64_t> first_;
  uint64_t decided_ = 0;
  std::vector<std::byte> sent_, received_, rest_, whole_;
  // Where machines' messages begin, how far apart they are, and how long.
  const std::byte* begin_ = nullptr;
  int64_t stride_ = 0, body_ = 0;
};

}  // namespace gtn
