// The intrinsics of the AMX-int8 and AVX-VNNI kernels in plain C++, after Intel's descriptions. It
// stands in for the compiler's <immintrin.h> where the tests compile those kernels' own sources, so
// that their logic runs on any machine, with sanitizers too. Not the machine code of a real one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulated {

template <int kLanes>
struct Vector {
  int32_t lane[kLanes];
};

template <class V, class Function>
V each(const V& a, const V& b, Function f) {
  V out;
  for (std::size_t i = 0; i < sizeof a.lane / 4; ++i) out.lane[i] = f(a.lane[i], b.lane[i]);
  return out;
}

inline int32_t wrapping_sum(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

// Four products of unsigned and signed bytes, added to a sum modulo 2^32.
inline int32_t dot_us(int32_t sum, int32_t u, int32_t s) {
  for (int k = 0; k < 4; ++k) {
    const int32_t a = static_cast<uint8_t>(static_cast<uint32_t>(u) >> 8 * k);
    const int32_t b = static_cast<int8_t>(static_cast<uint32_t>(s) >> 8 * k);
    sum = wrapping_sum(sum, a * b);
  }
  return sum;
}

struct TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
struct Tiles {
  bool configured = false;
  TileConfig config = {};
  int32_t tile[8][16][16] = {};
};
inline thread_local Tiles tiles;

// What the processor would answer with a fault counts here; the tests want none.
inline std::atomic<int> faults{0};

inline bool usable(int tile) {
  const TileConfig& c = tiles.config;
  const bool ok = tiles.configured && c.palette == 1 && c.rows[tile] == 16 &&
                  c.row_bytes[tile] == 64;  // whole tiles are all that this emulates
  faults += !ok;
  return ok;
}

}  // namespace emulated

using __m256 = emulated::Vector<8>;
using __m256i = emulated::Vector<8>;
using __m512i = emulated::Vector<16>;
using __mmask16 = uint16_t;

// --- 256 bits ------------------------------------------------------------------------------------

inline __m256i _mm256_setzero_si256() {
  return {};
}
inline __m256i _mm256_set1_epi32(int32_t v) {
  return {{v, v, v, v, v, v, v, v}};
}
inline __m256i _mm256_loadu_si256(const __m256i* p) {
  __m256i v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline __m256i _mm256_load_si256(const __m256i* p) {
  emulated::faults += reinterpret_cast<uintptr_t>(p) % 32 != 0;
  return _mm256_loadu_si256(p);
}
inline void _mm256_store_si256(__m256i* p, __m256i v) {
  emulated::faults += reinterpret_cast<uintptr_t>(p) % 32 != 0;
  std::memcpy(p, &v, sizeof v);
}
inline __m256i _mm256_or_si256(__m256i a, __m256i b) {
  return emulated::each(a, b, [](int32_t x, int32_t y) { return x | y; });
}
inline __m256i _mm256_max_epi32(__m256i a, __m256i b) {
  return emulated::each(a, b, [](int32_t x, int32_t y) { return x > y ? x : y; });
}
inline __m256i _mm256_cmpgt_epi32(__m256i a, __m256i b) {
  return emulated::each(a, b, [](int32_t x, int32_t y) { return x > y ? -1 : 0; });
}
inline int _mm256_testz_si256(__m256i a, __m256i b) {
  int32_t any = 0;
  for (int i = 0; i < 8; ++i) any |= a.lane[i] & b.lane[i];
  return any == 0;
}
inline __m256 _mm256_castsi256_ps(__m256i v) {
  return v;
}
inline int _mm256_movemask_ps(__m256 v) {
  int mask = 0;
  for (int i = 0; i < 8; ++i) mask |= (v.lane[i] < 0) << i;
  return mask;
}
inline __m256i _mm256_dpbusd_avx_epi32(__m256i sum, __m256i u, __m256i s) {
  for (int i = 0; i < 8; ++i) sum.lane[i] = emulated::dot_us(sum.lane[i], u.lane[i], s.lane[i]);
  return sum;
}
inline __m256i _mm256_dpwssd_avx_epi32(__m256i sum, __m256i a, __m256i b) {
  for (int i = 0; i < 8; ++i) {
    for (int k = 0; k < 2; ++k) {
      const int32_t x = static_cast<int16_t>(static_cast<uint32_t>(a.lane[i]) >> 16 * k);
      const int32_t y = static_cast<int16_t>(static_cast<uint32_t>(b.lane[i]) >> 16 * k);
      sum.lane[i] = emulated::wrapping_sum(sum.lane[i], x * y);
    }
  }
  return sum;
}

// --- 512 bits ------------------------------------------------------------------------------------

inline __m512i _mm512_set1_epi32(int32_t v) {
  __m512i out;
  for (int32_t& lane : out.lane) lane = v;
  return out;
}
template <class... Lanes>
__m512i _mm512_setr_epi32(Lanes... lanes) {
  return {{lanes...}};
}
inline __m512i _mm512_load_si512(const void* p) {
  emulated::faults += reinterpret_cast<uintptr_t>(p) % 64 != 0;
  __m512i v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void _mm512_storeu_si512(void* p, __m512i v) {
  std::memcpy(p, &v, sizeof v);
}
inline void _mm512_store_si512(void* p, __m512i v) {
  emulated::faults += reinterpret_cast<uintptr_t>(p) % 64 != 0;
  _mm512_storeu_si512(p, v);
}
inline __m512i _mm512_and_si512(__m512i a, __m512i b) {
  return emulated::each(a, b, [](int32_t x, int32_t y) { return x & y; });
}
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulated::each(a, b, emulated::wrapping_sum);
}
inline __mmask16 _mm512_movepi32_mask(__m512i v) {
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>(v.lane[i] < 0) << i;
  return static_cast<__mmask16>(mask);
}
inline __mmask16 _mm512_cmpge_epi32_mask(__m512i a, __m512i b) {
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>(a.lane[i] >= b.lane[i]) << i;
  return static_cast<__mmask16>(mask);
}
inline __m512i _mm512_maskz_compress_epi32(__mmask16 mask, __m512i v) {
  __m512i out = {};
  for (int i = 0, to = 0; i < 16; ++i) {
    if (mask >> i & 1) out.lane[to++] = v.lane[i];
  }
  return out;
}

// --- Tiles ---------------------------------------------------------------------------------------

inline void _tile_loadconfig(const void* p) {
  std::memcpy(&emulated::tiles.config, p, sizeof emulated::tiles.config);
  emulated::tiles.configured = true;
}
inline void _tile_release() {
  emulated::tiles.configured = false;
}
inline void _tile_loadd(int tile, const void* base, int64_t stride) {
  if (!emulated::usable(tile)) return;
  for (int r = 0; r < 16; ++r) {
    std::memcpy(emulated::tiles.tile[tile][r], static_cast<const char*>(base) + r * stride, 64);
  }
}
inline void _tile_stored(int tile, void* base, int64_t stride) {
  if (!emulated::usable(tile)) return;
  for (int r = 0; r < 16; ++r) {
    std::memcpy(static_cast<char*>(base) + r * stride, emulated::tiles.tile[tile][r], 64);
  }
}
// sums += a (signed bytes) * b (unsigned bytes)
inline void _tile_dpbsud(int sums, int a, int b) {
  if (!emulated::usable(sums) || !emulated::usable(a) || !emulated::usable(b)) return;
  auto& t = emulated::tiles.tile;
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      for (int byte = 0; byte < 4; ++byte) {
        const uint32_t s = static_cast<uint32_t>(t[a][m][k]) >> 8 * byte;
        const int32_t factor = static_cast<int8_t>(s);
        for (int n = 0; n < 16; ++n) {
          const uint32_t u = static_cast<uint32_t>(t[b][k][n]) >> 8 * byte & 255;
          const int32_t product = factor * static_cast<int32_t>(u);
          t[sums][m][n] = emulated::wrapping_sum(t[sums][m][n], product);
        }
      }
    }
  }
}
