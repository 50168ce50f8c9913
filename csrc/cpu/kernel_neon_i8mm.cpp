// NEON scan kernel with int8 matrix products: an instruction multiplies 2 latents with 2 sources
// over 2 steps, so 16 accumulators hold 4 pairs of sources x 4 pairs of latents. No int16 form:
// there are no such products of int16.
#include <arm_neon.h>

#include "cpu/append_neon.hpp"

namespace gtn {
namespace {

constexpr int kTileSteps = 2;

// Two sources' next 2 steps.
inline int8x16_t codes(const int8_t* y, int64_t source_bytes) {
  return vcombine_s8(vld1_s8(y), vld1_s8(y + source_bytes));
}

// The values for two sources as a product has them: latent by latent.
inline int32x4_t alternate(const int32_t* values) {
  return vreinterpretq_s32_s64(
      vdupq_n_s64(vget_lane_s64(vreinterpret_s64_s32(vld1_s32(values)), 0)));
}

// Written out per pair of sources, not looped over an array: compilers keep named variables in
// registers.
#define GTN_PAIRS(X) X(0) X(1) X(2) X(3)

int64_t scan(ScanTile* t) {
  const int32_t source_steps = t->source_steps;
  const int64_t panel_bytes = static_cast<int64_t>(t->steps) * 256;
  const int64_t source_bytes = static_cast<int64_t>(source_steps) * 4;
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    bool full = false;
    for (int part = 0; part < kPanelLatents / kPartLatents; ++part) {
      const uint8_t* x = static_cast<const uint8_t*>(t->panels) + p * panel_bytes + part * 32;
      const int8_t* y = static_cast<const int8_t*>(t->sources);
#define GTN_START(q)                            \
  int32x4_t a##q = alternate(t->start + q * 2); \
  int32x4_t b##q = a##q, c##q = a##q, d##q = a##q;
      GTN_PAIRS(GTN_START)
      for (int32_t s = 0; s < source_steps; s += kTileSteps) {
        // Latents come step by step; a product wants both steps of a latent together.
        const uint32x4_t low = vreinterpretq_u32_u8(vld1q_u8(x));
        const uint32x4_t high = vreinterpretq_u32_u8(vld1q_u8(x + 16));
        const uint32x4_t low_next = vreinterpretq_u32_u8(vld1q_u8(x + 256));
        const uint32x4_t high_next = vreinterpretq_u32_u8(vld1q_u8(x + 272));
        const uint8x16_t x0 = vreinterpretq_u8_u32(vzip1q_u32(low, low_next));
        const uint8x16_t x1 = vreinterpretq_u8_u32(vzip2q_u32(low, low_next));
        const uint8x16_t x2 = vreinterpretq_u8_u32(vzip1q_u32(high, high_next));
        const uint8x16_t x3 = vreinterpretq_u8_u32(vzip2q_u32(high, high_next));
#define GTN_STEP(q)                                                       \
  {                                                                       \
    const int8x16_t pair = codes(y + q * 2 * source_bytes, source_bytes); \
    a##q = vusmmlaq_s32(a##q, x0, pair);                                  \
    b##q = vusmmlaq_s32(b##q, x1, pair);                                  \
    c##q = vusmmlaq_s32(c##q, x2, pair);                                  \
    d##q = vusmmlaq_s32(d##q, x3, pair);                                  \
  }
        GTN_PAIRS(GTN_STEP)
        x += kTileSteps * 256;
        y += kTileSteps * 4;
      }
      uint32x4_t any = vdupq_n_u32(0);
#define GTN_REACHED(q)                                                                    \
  any = vorrq_u32(any, vcgeq_s32(vmaxq_s32(vmaxq_s32(a##q, b##q), vmaxq_s32(c##q, d##q)), \
                                 alternate(t->threshold + q * 2)));
      GTN_PAIRS(GTN_REACHED)
      if (__builtin_expect(vmaxvq_u32(any) != 0, 0)) {
        int32_t sums[kTileSources * kPartLatents];
#define GTN_STORE(q)                                    \
  vst1q_s32(sums + q * 16, vuzp1q_s32(a##q, b##q));     \
  vst1q_s32(sums + q * 16 + 4, vuzp1q_s32(c##q, d##q)); \
  vst1q_s32(sums + q * 16 + 8, vuzp2q_s32(a##q, b##q)); \
  vst1q_s32(sums + q * 16 + 12, vuzp2q_s32(c##q, d##q));
        GTN_PAIRS(GTN_STORE)
        full |= append(t, sums, static_cast<int32_t>(p * kPanelLatents + part * kPartLatents));
      }
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

}  // namespace

extern const Kernel kernel_neon_i8mm;
const Kernel kernel_neon_i8mm = {"neon_i8mm", {scan, kTileSources, kTileSteps}, {}, 127};

}  // namespace gtn
