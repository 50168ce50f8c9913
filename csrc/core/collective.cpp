#include "core/collective.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/stats.hpp"

namespace gtn {
namespace {

constexpr int64_t kBytesAtOnce = int64_t{16} << 20;  // of records that a machine receives

// The finaliser of MurmurHash3.
constexpr uint64_t mixed(uint64_t h) {
  h = (h ^ h >> 33) * 0xFF51AFD7ED558CCDu;
  h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53u;
  return h ^ h >> 33;
}

}  // namespace

void Collective::note(uint64_t decided) {
  decided_ = mixed(decided_ ^ decided);
}

void Collective::all_gather(std::span<const std::byte> sent) {
  PhaseTimer timer(stats_.seconds.exchange);
  const Header header{decided_, std::ssize(sent)};
  const int64_t with_hash = std::min(std::ssize(sent), first_.value_or(std::ssize(sent)));
  const int64_t first = sizeof(Header) + first_.value_or(std::ssize(sent));
  sent_.assign(first, std::byte{0});
  std::memcpy(sent_.data(), &header, sizeof(Header));
  if (with_hash > 0) std::memcpy(sent_.data() + sizeof(Header), sent.data(), with_hash);
  received_.resize(first * world_);
  exchange(sent_, received_);
  compare(first);
  body_ = std::ssize(sent);
  if (with_hash == body_) {
    stride_ = first;
    begin_ = received_.data() + sizeof(Header);
    return;
  }
  const int64_t rest = body_ - with_hash;
  rest_.resize(rest * world_);
  exchange(sent.subspan(with_hash), rest_);
  whole_.resize(body_ * world_);
  for (int64_t r = 0; r < world_; ++r) {
    std::memcpy(&whole_[r * body_], &received_[r * first + sizeof(Header)], with_hash);
    std::memcpy(&whole_[r * body_ + with_hash], &rest_[r * rest], rest);
  }
  stride_ = body_;
  begin_ = whole_.data();
}

void Collective::exchange(std::span<const std::byte> sent, std::span<std::byte> received) {
  exchange_.all_gather(sent, received);
  ++stats_.collectives;
  stats_.received += std::ssize(received);
}

// The headers of all machines, in messages of `size` bytes.
void Collective::compare(int64_t size) const {
  std::string others;
  for (int64_t r = 0; r < world_; ++r) {
    if (std::memcmp(received_.data() + r * size, received_.data(), sizeof(Header)) != 0) {
      others += (others.empty() ? "" : ", ") + std::to_string(r);
    }
  }
  if (others.empty()) return;
  throw std::runtime_error("ranks must choose alike, and not all chose as rank 0 did: " + others +
                           "; another version, other input or a memory fault can be the cause");
}

std::span<const std::byte> Collective::received(int64_t rank) const {
  return {begin_ + rank * stride_, static_cast<size_t>(body_)};
}

void Collective::for_each_of_bytes(std::span<const std::byte> own, int64_t size,
                                   FunctionRef<void(const std::byte*)> visit) {
  const int64_t count = std::ssize(own) / size;
  std::vector<int64_t> counts(world_);
  all_gather(std::as_bytes(std::span(&count, 1)));
  for (int64_t r = 0; r < world_; ++r) std::memcpy(&counts[r], received(r).data(), sizeof(count));
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  const int64_t step =
      std::clamp<int64_t>(kBytesAtOnce / (size * world_), 1, std::max<int64_t>(most, 1));
  std::vector<std::byte> piece;
  for (int64_t begin = 0; begin < most; begin += step) {
    const int64_t end = std::min(begin + step, most);
    piece.assign((end - begin) * size, std::byte{0});
    const int64_t mine = std::clamp<int64_t>(count - begin, 0, end - begin);
    if (mine > 0) std::memcpy(piece.data(), own.data() + begin * size, mine * size);
    all_gather(piece);
    for (int64_t r = 0; r < world_; ++r) {
      const std::byte* from = received(r).data();
      for (int64_t i = begin; i < std::min(end, counts[r]); ++i) visit(from + (i - begin) * size);
    }
  }
}

}  // namespace gtn
