// Conversion of rows on a device: every float16 and bfloat16 by the definition of its format, every
// type and sign of stride by the kernel, and what is given back when it fails.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/backend_cuda.hpp"
#include "cuda/runtime_calls.hpp"
#include "cuda/widen.hpp"
#include "device_array.hpp"

using emulation::Array;
using emulation::Setting;
using gtn::cuda::BFloat16;
using gtn::cuda::Element;
using gtn::cuda::Float16;
using gtn::cuda::StridedRows;
using gtn::cuda::widen;
using gtn::cuda::widened;

namespace {

// The value of bits by IEEE 754: sign, exponent and fraction of such widths.
double by_definition(unsigned bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1, most = (1 << exponent_bits) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & most;
  const double fraction = std::ldexp(bits & ((1u << fraction_bits) - 1), -fraction_bits);
  const double sign = bits >> (exponent_bits + fraction_bits) ? -1.0 : 1.0;
  if (exponent == most) {
    return fraction == 0.0 ? sign * std::numeric_limits<double>::infinity()
                           : std::numeric_limits<double>::quiet_NaN();
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias)
                               : std::ldexp(1 + fraction, exponent - bias));
}

bool same(float value, double expected) {
  if (std::isnan(expected)) return std::isnan(value);
  return value == expected && std::signbit(value) == std::signbit(expected);
}

template <class T>
std::vector<T> fetch(const void* device, size_t count) {
  std::vector<T> values(count);
  gtn::cuda::copy_to_host(values.data(), device, static_cast<int64_t>(count * sizeof(T)), 0,
                          nullptr);
  return values;
}

// 5 x 3 rows, read through strides of either sign, of 0 and with holes.
template <class From, class To>
void check_strides(Element element) {
  constexpr int64_t kRows = 5, kDim = 3;
  std::vector<From> values(100);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<From>(i + 1);
  const Array<From> array(values);
  struct Layout {
    int64_t first, row, column;
  };
  for (const auto [first, row, column] : {Layout{0, 3, 1},
                                          {0, 1, 5},
                                          {7, 13, 4},
                                          {99, -13, -4},
                                          {50, -3, 1},
                                          {3, 0, 2},
                                          {3, 4, 0},
                                          {0, 0, 0}}) {
    const StridedRows rows{array.data() + first, element, kRows, kDim, row, column};
    const auto copy = widen(rows, "latents", 0, nullptr);
    const auto found = fetch<To>(copy.get(), kRows * kDim);
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t k = 0; k < kDim; ++k) {
        const auto at = static_cast<size_t>(first + i * row + k * column);
        CHECK(found[static_cast<size_t>(i * kDim + k)] == static_cast<To>(values[at]));
      }
    }
  }
}

}  // namespace

TEST_CASE("every float16 and bfloat16 widens to its value") {
  int wrong = 0;
  for (unsigned bits = 0; bits < 1u << 16; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    wrong += !same(widened(Float16{b}), by_definition(bits, 5, 10));
    wrong += !same(widened(BFloat16{b}), by_definition(bits, 8, 7));
  }
  CHECK(wrong == 0);
}

TEST_CASE("integers that float64 lacks round to the nearest even") {
  constexpr int64_t k53 = int64_t{1} << 53;
  CHECK(widened(k53 + 1) == 0x1p53);
  CHECK(widened(k53 + 3) == 0x1p53 + 4);
  CHECK(widened(-k53 - 1) == -0x1p53);
  CHECK(widened(std::numeric_limits<int64_t>::min()) == -0x1p63);
  CHECK(widened(std::numeric_limits<uint64_t>::max()) == 0x1p64);
}

TEST_CASE("the kernel follows strides, for every element type") {
  check_strides<float, float>(Element::f32);
  check_strides<double, double>(Element::f64);
  check_strides<int8_t, double>(Element::i8);
  check_strides<int16_t, double>(Element::i16);
  check_strides<int32_t, double>(Element::i32);
  check_strides<int64_t, double>(Element::i64);
  check_strides<uint8_t, double>(Element::u8);
  check_strides<uint16_t, double>(Element::u16);
  check_strides<uint32_t, double>(Element::u32);
  check_strides<uint64_t, double>(Element::u64);
  const Array<uint16_t> half({0x3c00, 0xc000, 0x0001}), brain({0x3f80, 0xc000, 0x0001});
  for (const auto& [array, element] : {std::pair{&half, Element::f16}, {&brain, Element::bf16}}) {
    const auto copy = widen({array->data(), element, 1, 3, 3, 1}, "latents", 0, nullptr);
    const auto found = fetch<float>(copy.get(), 3);
    CHECK(found[0] == 1.0f);
    CHECK(found[1] == -2.0f);
    CHECK(found[2] == (element == Element::f16 ? 0x1p-24f : 0x1p-133f));
  }
}

TEST_CASE("what the engine takes as it is, and what not") {
  const auto layout = [](Element element, int64_t count, int64_t dim, int64_t row, int64_t column) {
    return StridedRows{nullptr, element, count, dim, row, column}.is_engine_layout();
  };
  CHECK(layout(Element::f32, 5, 3, 3, 1));
  CHECK(layout(Element::f64, 5, 3, 3, 1));
  CHECK(layout(Element::f32, 1, 3, 77, 1));  // one row, or one column, has no stride that matters
  CHECK(layout(Element::f32, 5, 1, 1, 77));
  CHECK(layout(Element::f32, 1, 1, 77, 77));
  CHECK_FALSE(layout(Element::f32, 5, 3, 4, 1));
  CHECK_FALSE(layout(Element::f32, 5, 3, 1, 5));
  CHECK_FALSE(layout(Element::f32, 5, 1, 2, 1));
  CHECK_FALSE(layout(Element::f32, 1, 3, 3, 2));
  CHECK_FALSE(layout(Element::f16, 5, 3, 3, 1));
  CHECK_FALSE(layout(Element::i64, 5, 3, 3, 1));
}

TEST_CASE("a conversion that fails gives its memory back") {
  const Array<int32_t> array(std::vector<int32_t>(6));
  const StridedRows rows{array.data(), Element::i32, 2, 3, 3, 1};
  size_t before = 0, after = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&before, &total) == cudaSuccess);
  {
    const Setting fail("GTN_EMULATOR_FAIL", "cudaMalloc:1");
    CHECK_THROWS_AS(widen(rows, "latents", 0, nullptr), gtn::cuda::OutOfMemory);
  }
  {
    const Setting fail("GTN_EMULATOR_FAIL", "cudaLaunchKernelEx:1");
    CHECK_THROWS_AS(widen(rows, "latents", 0, nullptr), gtn::cuda::Error);
  }
  widen(rows, "latents", 0, nullptr).reset();
  REQUIRE(cudaMemGetInfo(&after, &total) == cudaSuccess);
  CHECK(after == before);
}
