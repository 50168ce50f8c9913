// gtn_label._core: the private extension. What it offers is this list; conversions and checks of
// arguments beyond types and shapes are Python's business (gtn_label/matching.py).
#include "bindings/register.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The labeling engine of gtn_label. Private: use gtn_label.match.";
  gtn::register_instruction_sets(m);
  gtn::register_engines(m);
  gtn::register_cuda(m);
#ifdef GTN_CUDA_BUILT
  gtn::register_cuda_rate(m);
#endif
#ifdef GTN_CUDA_EMULATED
  gtn::register_emulated_memory(m);
#endif
  gtn::register_match(m);
  gtn::register_audit(m);
}
