// Which tree kernel goes with which scan kernel.
#include "cpu/tree_kernels.hpp"

#include <string>

namespace gtn {

#ifdef GTN_TREE_KERNEL_AVX512
extern const TreeKernel tree_kernel_avx512;
#endif
#ifdef GTN_TREE_KERNEL_AVX2
extern const TreeKernel tree_kernel_avx2;
#endif
extern const TreeKernel tree_kernel_portable;

const TreeKernel& tree_kernel_for(const char* instruction_set) {
  [[maybe_unused]] const std::string name = instruction_set;
#ifdef GTN_TREE_KERNEL_AVX512
  if (name == "avx512_vnni" || name == "amx_int8") return tree_kernel_avx512;
#endif
#ifdef GTN_TREE_KERNEL_AVX2
  const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (name != "scalar" && usable) return tree_kernel_avx2;
#endif
  return tree_kernel_portable;
}

}  // namespace gtn
