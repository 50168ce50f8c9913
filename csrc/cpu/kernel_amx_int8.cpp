// AMX-int8 scan kernel: four accumulator tiles of 16 x 16 hold 32 sources x 32 latents; one
// instruction adds the products of 16 steps. Tiles of latents are read straight from the panels: a
// row is one step of 16 latents, 256 bytes after the last. No int16 form: AMX has no int16
// products.
//
// Tiles reach the vector registers only through memory, so the check for hits must be cheap. Sums
// start at minus the threshold, which leaves the sign of a sum to say whether it is reached, and an
// AND over many sums whether any is. What a block stored is checked while the next is multiplied.
#include <immintrin.h>

#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 32;
constexpr int kTileSteps = 16;
constexpr int kBlockLatents = 32;
constexpr int kGroupSources = 8;  // looked at together on a hit
// Sums are at most 2^16 a step: up to so many steps, their differences from thresholds fit in
// int32.
constexpr int32_t kMostSignedSteps = (1 << 14) - 1;

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Sums minus `base`, as the tiles store them.
struct alignas(64) Block {
  int32_t sums[kTileSources][kBlockLatents];
};

// For every source: the part subtracted from its sums, and its threshold as far as signs can tell.
struct Base {
  bool signs;  // whether signs decide
  int32_t of[kTileSources];

  explicit Base(const ScanTile* t) : signs(t->steps <= kMostSignedSteps) {
    const int32_t most = signs ? t->steps << 16 : 0;  // the largest sum possible
    for (int r = 0; r < kTileSources; ++r) {
      const int32_t threshold = t->threshold[r];
      // A threshold that all or no sums reach moves to where the difference cannot wrap.
      of[r] = threshold < -most ? -most : threshold > most ? most + 1 : threshold;
      if (!signs) of[r] = 0;
    }
  }
};

// Appends the lanes that reach their source's threshold.
__attribute__((noinline)) void append(ScanTile* t, const Base& base, const Block& block, int first,
                                      int32_t position) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int r = first; r < first + kGroupSources; ++r) {
    const __m512i offset = _mm512_set1_epi32(base.of[r]);
    const __m512i threshold = _mm512_set1_epi32(t->threshold[r]);
    for (int v = 0; v < 2; ++v) {
      const __m512i sum = _mm512_add_epi32(_mm512_load_si512(&block.sums[r][v * 16]), offset);
      const __mmask16 mask = _mm512_cmpge_epi32_mask(sum, threshold);
      if (!mask) continue;
      const __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(position + v * 16));
      // Compressed in registers: compressing straight to memory is slow on some processors.
      _mm512_storeu_si512(t->hit_sums[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, sum));
      _mm512_storeu_si512(t->hit_positions[r] + t->hits[r], _mm512_maskz_compress_epi32(mask, at));
      t->hits[r] += __builtin_popcount(mask);
    }
  }
}

void check(ScanTile* t, const Base& base, const Block& block, int32_t position) {
  for (int first = 0; first < kTileSources; first += kGroupSources) {
    __m512i negative = _mm512_load_si512(block.sums[first]);
    __m512i negative_too = _mm512_load_si512(block.sums[first] + 16);
    for (int r = first + 1; r < first + kGroupSources; ++r) {
      negative = _mm512_and_si512(negative, _mm512_load_si512(block.sums[r]));
      negative_too = _mm512_and_si512(negative_too, _mm512_load_si512(block.sums[r] + 16));
    }
    const __mmask16 signs = _mm512_movepi32_mask(_mm512_and_si512(negative, negative_too));
    if (__builtin_expect(signs != 0xffff || !base.signs, 0))
      append(t, base, block, first, position);
  }
}

bool full(const ScanTile* t) {
  bool any = false;
  for (int r = 0; r < kTileSources; ++r) any |= t->hits[r] > t->limit[r];
  return any;
}

int64_t scan(ScanTile* t) {
  const int64_t panel_bytes = static_cast<int64_t>(t->steps) * 256;
  const int64_t source_bytes = static_cast<int64_t>(t->source_steps) * 4;
  const char* const sources = static_cast<const char*>(t->sources);
  const Base base(t);
  alignas(64) int32_t start[kTileSources][16];
  for (int r = 0; r < kTileSources; ++r) {
    const uint32_t value = static_cast<uint32_t>(t->start[r]) - static_cast<uint32_t>(base.of[r]);
    _mm512_store_si512(start[r], _mm512_set1_epi32(static_cast<int32_t>(value)));
  }
  const TileConfig config;
  // GCC 12 is not told what memory tile instructions read: all that was written must be there.
  asm volatile("" ::"r"(&config), "r"(start) : "memory");
  _tile_loadconfig(&config);

  Block blocks[2];
  const int64_t first_block = t->panel_begin * 2, last_block = t->panel_end * 2;
  int64_t next = t->panel_end;
  for (int64_t b = first_block; b <= last_block; ++b) {
    Block& block = blocks[b % 2];
    if (b < last_block) {
      const char* x = static_cast<const char*>(t->panels) + b / 2 * panel_bytes + b % 2 * 128;
      const char* y = sources;
      _tile_loadd(0, start, 64);
      _tile_loadd(1, start, 64);
      _tile_loadd(2, start[16], 64);
      _tile_loadd(3, start[16], 64);
      for (int32_t s = 0; s < t->source_steps; s += kTileSteps) {
        _tile_loadd(4, y, source_bytes);
        _tile_loadd(5, y + 16 * source_bytes, source_bytes);
        _tile_loadd(6, x, 256);
        _tile_loadd(7, x + 64, 256);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
        x += kTileSteps * 256;
        y += kTileSteps * 4;
      }
    }
    if (b > first_block) {
      check(t, base, blocks[(b - 1) % 2], static_cast<int32_t>((b - 1) * kBlockLatents));
      if (b % 2 == 0 && full(t)) {  // the panel before this block is done
        next = b / 2;
        break;
      }
    }
    if (b < last_block) {
      _tile_stored(0, block.sums[0], sizeof block.sums[0]);
      _tile_stored(1, block.sums[0] + 16, sizeof block.sums[0]);
      _tile_stored(2, block.sums[16], sizeof block.sums[0]);
      _tile_stored(3, block.sums[16] + 16, sizeof block.sums[0]);
    }
  }
  _tile_release();
  return next;
}

}  // namespace

extern const Kernel kernel_amx_int8;
const Kernel kernel_amx_int8 = {"amx_int8", {scan, kTileSources, kTileSteps}, {}, 127};

}  // namespace gtn
