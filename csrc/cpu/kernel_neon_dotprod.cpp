// NEON scan kernel with dot products: 16 accumulators hold 8 sources x 8 latents; a vector of
// source codes serves 4 steps, each step taking its lane. The int8 form subtracts the latents' 128
// by flipping a bit, as sdot wants both sides signed: its sums need no correction.
#include <arm_neon.h>

#include "cpu/append_neon.hpp"

namespace gtn {
namespace {

constexpr int kTileSteps = 4;

struct Int8 {
  typedef int8x16_t Codes;
  struct Latents {
    int8x16_t low, high;  // 4 latents x 4 dimensions each
  };
  static inline int32x4_t start(int32_t) { return vdupq_n_s32(0); }
  static inline Latents latents(const uint8_t* x) {
    const uint8x16_t bias = vdupq_n_u8(128);
    return {vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), bias)),
            vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x + 16), bias))};
  }
  static inline Codes codes(const uint8_t* y) { return vreinterpretq_s8_u8(vld1q_u8(y)); }
  template <int kStep>
  static inline void step(int32x4_t& a, int32x4_t& b, const Latents& x, Codes y) {
    a = vdotq_laneq_s32(a, x.low, y, kStep);
    b = vdotq_laneq_s32(b, x.high, y, kStep);
  }
};

struct Int16 {
  typedef int16x8_t Codes;
  typedef int16x8x2_t Latents;  // first and second dimension of 8 latents
  static inline int32x4_t start(int32_t value) { return vdupq_n_s32(value); }
  static inline Latents latents(const uint8_t* x) {
    return vld2q_s16(reinterpret_cast<const int16_t*>(x));
  }
  static inline Codes codes(const uint8_t* y) { return vreinterpretq_s16_u8(vld1q_u8(y)); }
  template <int kStep>
  static inline void step(int32x4_t& a, int32x4_t& b, const Latents& x, Codes y) {
    a = vmlal_laneq_s16(a, vget_low_s16(x.val[0]), y, kStep * 2);
    b = vmlal_high_laneq_s16(b, x.val[0], y, kStep * 2);
    a = vmlal_laneq_s16(a, vget_low_s16(x.val[1]), y, kStep * 2 + 1);
    b = vmlal_high_laneq_s16(b, x.val[1], y, kStep * 2 + 1);
  }
};

// Written out per source, not looped over an array: compilers keep named variables in registers.
#define GTN_SOURCES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

template <class Product>
int64_t scan(ScanTile* t) {
  const int32_t source_steps = t->source_steps;
  const int64_t panel_bytes = static_cast<int64_t>(t->steps) * 256;
  const int64_t source_bytes = static_cast<int64_t>(source_steps) * 4;
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    bool full = false;
    for (int part = 0; part < kPanelLatents / kPartLatents; ++part) {
      const uint8_t* x = static_cast<const uint8_t*>(t->panels) + p * panel_bytes + part * 32;
      const uint8_t* y = static_cast<const uint8_t*>(t->sources);
#define GTN_START(r) int32x4_t a##r = Product::start(t->start[r]), b##r = a##r;
      GTN_SOURCES(GTN_START)
      for (int32_t s = 0; s < source_steps; s += kTileSteps) {
#define GTN_CODES(r) const typename Product::Codes y##r = Product::codes(y + r * source_bytes);
        GTN_SOURCES(GTN_CODES)
        typename Product::Latents now = Product::latents(x);
#define GTN_STEP_0(r) Product::template step<0>(a##r, b##r, now, y##r);
        GTN_SOURCES(GTN_STEP_0)
        now = Product::latents(x + 256);
#define GTN_STEP_1(r) Product::template step<1>(a##r, b##r, now, y##r);
        GTN_SOURCES(GTN_STEP_1)
        now = Product::latents(x + 512);
#define GTN_STEP_2(r) Product::template step<2>(a##r, b##r, now, y##r);
        GTN_SOURCES(GTN_STEP_2)
        now = Product::latents(x + 768);
#define GTN_STEP_3(r) Product::template step<3>(a##r, b##r, now, y##r);
        GTN_SOURCES(GTN_STEP_3)
        x += kTileSteps * 256;
        y += kTileSteps * 4;
      }
      uint32x4_t any = vdupq_n_u32(0);
#define GTN_REACHED(r) \
  any = vorrq_u32(any, vcgeq_s32(vmaxq_s32(a##r, b##r), vdupq_n_s32(t->threshold[r])));
      GTN_SOURCES(GTN_REACHED)
      if (__builtin_expect(vmaxvq_u32(any) != 0, 0)) {
        int32_t sums[kTileSources * kPartLatents];
#define GTN_STORE(r)             \
  vst1q_s32(sums + r * 8, a##r); \
  vst1q_s32(sums + r * 8 + 4, b##r);
        GTN_SOURCES(GTN_STORE)
        full |= append(t, sums, static_cast<int32_t>(p * kPanelLatents + part * kPartLatents));
      }
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

}  // namespace

extern const Kernel kernel_neon_dotprod;
const Kernel kernel_neon_dotprod = {"neon_dotprod",
                                    {scan<Int8>, kTileSources, kTileSteps},
                                    {scan<Int16>, kTileSources, kTileSteps},
                                    127};

}  // namespace gtn
