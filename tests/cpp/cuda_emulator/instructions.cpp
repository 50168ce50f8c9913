#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "emulated_instructions.hpp"
#include "settings.hpp"

namespace gtn::emulated {

namespace {

// Where shared memory begins, as its instructions see it: as little aligned as it may be.
constexpr uint32_t kSharedStart = 1024 + 128;
constexpr int kLanes = 32, kMostThreads = 1024;
// A group is done when it is committed once in so many times, with all before it.
constexpr uint32_t kEarlyOdds = 4;

int linear_thread() {
  return static_cast<int>(
      threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * static_cast<unsigned>(threadIdx.z)));
}

// Work that a thread has begun and not waited for. Groups end in order.
class Asynchronous {
 public:
  // to: what the work writes, if anybody asks.
  void begin(std::function<void()> work, const void* to = nullptr) {
    open_.push_back({std::move(work), to});
  }
  void commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
    if (random_below(kEarlyOdds) == 0) finish(0);
  }
  // All groups but the last few.
  void finish(size_t left) {
    for (; groups_.size() > left; groups_.pop_front()) {
      for (const Work& work : groups_.front()) work.run();
    }
  }
  bool writes(const void* to) const {
    const auto any = [to](const std::vector<Work>& group) {
      return std::any_of(group.begin(), group.end(), [to](const Work& w) { return w.to == to; });
    };
    return any(open_) || std::any_of(groups_.begin(), groups_.end(), any);
  }

 private:
  struct Work {
    std::function<void()> run;
    const void* to;
  };
  std::vector<Work> open_;
  std::deque<std::vector<Work>> groups_;
};

// State of one thread of the running block. A block leaves no work behind that was waited for.
struct Thread {
  Asynchronous copies, products;
  bool copied = false;  // since fence_async_proxy
  bool fenced = false;  // since the last commit of products
};
std::vector<Thread>& all_threads() {
  static std::vector<Thread> threads(kMostThreads);
  return threads;
}
Thread& this_thread() {
  return all_threads()[static_cast<size_t>(linear_thread())];
}

// Operands that the lanes of a warp show each other.
const void* shown[kMostThreads];

// Calls use(lane -> operand of that lane) in every lane, between two meetings of the warp.
template <class Operand, class Use>
void exchange(const Operand& mine, Place place, Use use) {
  const int first = linear_thread() / kLanes * kLanes;
  shown[linear_thread()] = &mine;
  __syncwarp(0xffffffffu, place);
  use([&](int lane) -> const Operand& {
    return *static_cast<const Operand*>(shown[first + lane]);
  });
  __syncwarp(0xffffffffu, place);
}

// Products of what a register of each operand holds, for sums of int32 and of float32: four int8,
// or two float16.
int32_t dot(uint32_t a, uint32_t b, int32_t) {
  int32_t sum = 0;
  for (int shift = 0; shift < 32; shift += 8)
    sum += static_cast<int8_t>(a >> shift) * static_cast<int8_t>(b >> shift);
  return sum;
}
float float16(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const auto fraction = static_cast<float>(bits & 1023);
  if (exponent == 31) throw Fault("float16 that is not finite is not emulated");
  const float size =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
  return bits & 0x8000 ? -size : size;
}
float dot(uint32_t a, uint32_t b, float) {
  return float16(a) * float16(b) + float16(a >> 16) * float16(b >> 16);
}

// A matrix in shared memory as a descriptor of wgmma gives it (PTX manual, "Matrix Descriptor
// Format" and "Shared Memory Matrix Layout"), K-major and swizzled: rows of 32, 64 or 128 bytes, in
// groups of eight that lie a "stride dimension byte offset" apart; then bits of the address from 4
// on are flipped by those from 7 on, so many as make the row's length.
class Matrix {
 public:
  explicit Matrix(uint64_t descriptor)
      : start_(field(descriptor, 0)), stride_(field(descriptor, 32)) {
    const auto mode = static_cast<int>(descriptor >> 62);
    const uint64_t unused =
        uint64_t{3} << 14 | uint64_t{3} << 30 | uint64_t{7} << 46 | uint64_t{0x3ff} << 52;
    if ((descriptor & unused) != 0) throw Fault("wgmma: bits of a descriptor that mean nothing");
    if ((descriptor >> 49 & 7) != 0) throw Fault("wgmma: base offsets are not emulated");
    if (mode == 0) throw Fault("wgmma: only swizzled matrices are emulated");
    row_bytes_ = 256u >> mode;  // modes 1, 2, 3: 128, 64, 32 bytes
    // Without a base offset the pattern begins where the address says: at multiples of its size.
    if (stride_ % (8 * row_bytes_) != 0) throw Fault("wgmma: groups of rows across patterns");
  }
  // 32 bytes of a row.
  std::array<uint32_t, 8> row(int index) const {
    const auto r = static_cast<uint32_t>(index);
    std::array<uint32_t, 8> words;
    for (uint32_t piece = 0; piece < 2; ++piece) {
      uint32_t address = start_ + r / 8 * stride_ + r % 8 * row_bytes_ + piece * 16;
      address ^= (address >> 7 & (row_bytes_ / 16 - 1)) << 4;
      std::memcpy(&words[4 * piece], shared_pointer(address, 16), 16);
    }
    return words;
  }

 private:
  static uint32_t field(uint64_t descriptor, int from) {
    return static_cast<uint32_t>(descriptor >> from & 0x3fff) << 4;
  }
  uint32_t start_, stride_, row_bytes_;
};

// True if what this thread multiplies is to be lost (settings.hpp).
bool product_is_lost() {
  return lies(Lie::products) && linear_thread() < kLanes;
}

// 16 x 8 sums of 32 bytes a row, as multiply_16x8x32 and multiply_16x8x16 have them: fragments are
// the same but for what a register holds.
template <class Sum>
void multiply_16x8(Sum (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Place place) {
  struct Operand {
    const uint32_t* a;
    uint32_t b[2];
  };
  const int l = lane();
  exchange(Operand{a, {b0, b1}}, place, [&](auto of) {
    if (product_is_lost()) return;
    for (int i = 0; i < 4; ++i) {  // row l / 4 + 8 (i / 2), column 2 (l % 4) + i % 2
      const int column = 2 * (l % 4) + i % 2;
      for (int k = 0; k < 4; ++k) {
        const uint32_t* row = of(l / 4 * 4 + k).a;
        const uint32_t* b = of(column * 4 + k).b;
        sum[i] += dot(row[i / 2], b[0], Sum{}) + dot(row[2 + i / 2], b[1], Sum{});
      }
    }
  });
}

// 64 x 128 sums of 32 bytes a row, as wgmma_64x128x32 and wgmma_64x128x16 have them.
template <class Sum>
void wgmma_64x128(Sum (&sums)[64], uint64_t a, uint64_t b, bool add, Place place) {
  __syncwarp(0xffffffffu, place);
  Thread& thread = this_thread();
  if (!thread.fenced) throw Fault("wgmma.mma_async before a wgmma.fence");
  if (thread.copied) throw Fault("wgmma.mma_async of what was copied, before a fence.proxy.async");
  const int l = lane(), warp = linear_thread() / kLanes % 4;
  const bool lost = product_is_lost();
  thread.products.begin(
      [&sums, a = Matrix(a), b = Matrix(b), add, l, warp, lost] {
        if (lost) {
          if (!add) std::fill(std::begin(sums), std::end(sums), Sum{});
          return;
        }
        // PTX manual, "Register Fragments for wgmma.mma_async.m64nNk32", matrix D.
        const std::array<uint32_t, 8> rows[2] = {a.row(16 * warp + l / 4),
                                                 a.row(16 * warp + l / 4 + 8)};
        for (int j = 0; j < 32; ++j) {
          const std::array<uint32_t, 8> column = b.row(j / 2 * 8 + 2 * (l % 4) + j % 2);
          for (int h = 0; h < 2; ++h) {
            Sum& sum = sums[j / 2 * 4 + 2 * h + j % 2];
            if (!add) sum = 0;
            for (size_t k = 0; k < 8; ++k) sum += dot(rows[h][k], column[k], Sum{});
          }
        }
      },
      sums);
}

}  // namespace

unsigned char* shared_pointer(uint32_t address, uint32_t alignment) {
  if (address % alignment != 0) throw Fault("a shared address that is not aligned");
  return dynamic_shared() + (address - kSharedStart);
}

void end_asynchronous_work() {
  const auto threads = static_cast<size_t>(blockDim.x * blockDim.y * blockDim.z);
  for (size_t i = 0; i < threads; ++i) all_threads()[i].copied = all_threads()[i].fenced = false;
  end_barriers();
}

void forget_asynchronous_work() {
  all_threads().assign(kMostThreads, {});
  forget_barriers();
}

void copy_async(uint32_t to, const void* from) {
  unsigned char* target = shared_pointer(to, 16);
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) throw Fault("cp.async from where not aligned");
  this_thread().copies.begin([=] { std::memcpy(target, from, 16); });
}
void copy_async_commit() {
  this_thread().copies.commit();
}
void copy_async_wait(int groups) {
  Thread& thread = this_thread();
  thread.copies.finish(static_cast<size_t>(groups));
  thread.copied = true;
}

void wgmma_fence(Place place) {
  __syncwarp(0xffffffffu, place);
  this_thread().fenced = true;
}
void wgmma_commit() {
  this_thread().products.commit();
  this_thread().fenced = false;
}
void wgmma_wait(int groups) {
  this_thread().products.finish(static_cast<size_t>(groups));
}
void wgmma_require_done(const void* sums) {
  if (this_thread().products.writes(sums)) throw Fault("wgmma: sums that a product still writes");
}

}  // namespace gtn::emulated

namespace gtn::cuda {

using namespace emulated;  // NOLINT: these are its functions under the kernels' names

uint32_t shared_address(const void* pointer) {
  return kSharedStart +
         static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - dynamic_shared());
}

void store_zeros(uint32_t to) {
  std::memset(shared_pointer(to, 16), 0, 16);
}

void load_matrices(uint32_t (&to)[4], uint32_t row, Place place) {
  const int l = lane();
  exchange(row, place, [&](auto of) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const unsigned char* from = shared_pointer(of(8 * matrix + l / 4), 16);
      std::memcpy(&to[matrix], from + 4 * (l % 4), 4);
    }
  });
}

void multiply_8x8x16(int32_t& sum0, int32_t& sum1, uint32_t a, uint32_t b, Place place) {
  struct Operand {
    uint32_t a, b;
  };
  const int l = lane();
  exchange(Operand{a, b}, place, [&](auto of) {
    if (product_is_lost()) return;
    for (int k = 0; k < 4; ++k) {
      const uint32_t row = of(l / 4 * 4 + k).a;
      sum0 += dot(row, of(l % 4 * 8 + k).b, 0);
      sum1 += dot(row, of(l % 4 * 8 + 4 + k).b, 0);
    }
  });
}

void multiply_16x8x32(int32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                      Place place) {
  if (capability() < 80) {  // as on such devices
    multiply_8x8x16(sum[0], sum[1], a[0], b0, place);
    multiply_8x8x16(sum[2], sum[3], a[1], b0, place);
    multiply_8x8x16(sum[0], sum[1], a[2], b1, place);
    multiply_8x8x16(sum[2], sum[3], a[3], b1, place);
    return;
  }
  multiply_16x8(sum, a, b0, b1, place);
}

void multiply_16x8x16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                      Place place) {
  multiply_16x8(sum, a, b0, b1, place);
}

void fence_async_proxy() {
  this_thread().copied = false;
  show_barriers();
}

void wgmma_64x128x32(int32_t (&sums)[64], uint64_t a, uint64_t b, bool add, Place place) {
  wgmma_64x128(sums, a, b, add, place);
}
void wgmma_64x128x16(float (&sums)[64], uint64_t a, uint64_t b, bool add, Place place) {
  wgmma_64x128(sums, a, b, add, place);
}

}  // namespace gtn::cuda

bool gtn::emulated::fused_product_is_lost() {
  return fused_products_lie() && linear_thread() < kLanes;
}
