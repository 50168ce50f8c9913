// The portable scan kernel: plain C++ that compilers vectorise for whatever the baseline is.
// The reference that the other kernels are tested against.
#include "cpu/kernels.hpp"

namespace gtn {
namespace {

constexpr int kTileSources = 6;
constexpr int kLanes = 16;  // latents whose sums are kept at a time, in registers where they fit

template <class Latent, class Source, int kDims>
int64_t scan(ScanTile* t) {
  const int64_t stride = static_cast<int64_t>(t->steps) * kPanelLatents * kDims;
  for (int64_t p = t->panel_begin; p < t->panel_end; ++p) {
    const Latent* panel = static_cast<const Latent*>(t->panels) + p * stride;
    bool full = false;
    for (int r = 0; r < kTileSources; ++r) {
      const Source* y = static_cast<const Source*>(t->sources) + r * t->source_steps * kDims;
      for (int base = 0; base < kPanelLatents; base += kLanes) {
        // Unsigned sums wrap without harm: only the final value has to fit.
        uint32_t sum[kLanes];
        for (int l = 0; l < kLanes; ++l) sum[l] = static_cast<uint32_t>(t->start[r]);
        for (int s = 0; s < t->steps; ++s) {
          const Latent* x = panel + (s * kPanelLatents + base) * kDims;
          for (int l = 0; l < kLanes; ++l) {
            int32_t part = 0;
            for (int k = 0; k < kDims; ++k) {
              part += static_cast<int32_t>(x[l * kDims + k]) * y[s * kDims + k];
            }
            sum[l] += static_cast<uint32_t>(part);
          }
        }
        for (int l = 0; l < kLanes; ++l) {
          const int32_t value = static_cast<int32_t>(sum[l]);
          if (value < t->threshold[r]) continue;
          t->hit_sums[r][t->hits[r]] = value;
          t->hit_positions[r][t->hits[r]] = static_cast<int32_t>(p * kPanelLatents + base + l);
          ++t->hits[r];
        }
      }
      full = full || t->hits[r] > t->limit[r];
    }
    if (full) return p + 1;
  }
  return t->panel_end;
}

}  // namespace

extern const Kernel kernel_scalar;
const Kernel kernel_scalar = {"scalar",

                              {scan<uint8_t, int8_t, 4>, kTileSources, 1},
                              {scan<int16_t, int16_t, 2>, kTileSources, 1},
                              127};

}  // namespace gtn
