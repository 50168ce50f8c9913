// Implements exact_dispatch.hpp.
#include "cpu/exact_dispatch.hpp"

namespace gtn {

#ifdef GTN_EXACT_AVX512
extern const ExactKernels exact_avx512;
#endif
#ifdef GTN_EXACT_AVX2
extern const ExactKernels exact_avx2;
#endif

namespace {

struct Entry {
  const ExactKernels* kernels;
  // Names of scan kernels begin with one of these.
  std::vector<const char*> instruction_sets;
};

// Best first. Asking the processor is safe here: this file has no instruction-set flags.
std::vector<Entry> entries() {
  std::vector<Entry> all;
#ifdef GTN_EXACT_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
    all.push_back({&exact_avx512, {"amx", "avx512"}});
  }
#endif
#ifdef GTN_EXACT_AVX2
  if (__builtin_cpu_supports("avx2")) all.push_back({&exact_avx2, {"amx", "avx"}});
#endif
  // Elsewhere the portable form is vectorised for the baseline of the processor family.
  all.push_back({&exact_portable, {""}});
  return all;
}

}  // namespace

std::vector<const ExactKernels*> list_exact_kernels() {
  std::vector<const ExactKernels*> kernels;
  for (const Entry& e : entries()) kernels.push_back(e.kernels);
  return kernels;
}

const ExactKernels& select_exact_kernels(const std::string& instruction_set) {
  for (const Entry& e : entries()) {
    for (const char* prefix : e.instruction_sets) {
      if (instruction_set.rfind(prefix, 0) == 0) return *e.kernels;
    }
  }
  return exact_portable;
}

}  // namespace gtn
