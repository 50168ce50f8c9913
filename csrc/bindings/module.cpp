// gtn_label._core: the private extension. What it offers is this list; conversions and checks of
// arguments beyond types and shapes are Python's business (gtn_label/matching.py).
#include <pybind11/numpy.h>

#include "bindings/gil.hpp"
#include "bindings/register.hpp"

PYBIND11_MODULE(_core, m) {
  // pybind11 looks up NumPy's functions once, with the GIL given back in its own way: not in a
  // thread that may be ended meanwhile (gil.hpp).
  pybind11::dtype::of<float>();
  gtn::gil::register_at_exit();
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
  gtn::register_guarded_range(m);
  gtn::register_match(m);
  gtn::register_optimal_state(m);
  gtn::register_optimal(m);
  gtn::register_audit(m);
  gtn::register_sharded(m);
}
