// One row an instruction set. CMake's registry says which kernels this build has
// (built_kernels.hpp), processor.hpp what this machine runs.
#include "cpu/instruction_sets.hpp"

#include <stdexcept>
#include <vector>

#include "cpu/built_kernels.hpp"
#include "cpu/processor.hpp"

namespace gtn {
namespace {

struct Row {
  const char* name;
  const char* description;
  Built<Kernel> scan;
  Built<Kernel> int16_lender;  // the scan kernel whose int16 form it uses
  Built<ExactKernels> exact;   // the portable kernels stand in for one that is not built
  Built<TreeKernel> tree;
  std::string (*lacking)();  // why this machine cannot run it; empty if it can
};

constexpr Built<ExactKernels> built_exact_portable{&exact_portable, ""};

// Best first. `lacking` covers the scan kernel and the exact kernels of its row.
const Row kRows[] = {
    {"amx_int8", "AMX, 16,384 int8 products an instruction; int16 as avx512_vnni",
     built_kernel_amx_int8, built_kernel_avx512_vnni, built_exact_avx512, built_tree_kernel_avx512,
     lacking_amx_int8},
    {"avx512_vnni", "AVX-512 VNNI, 64 int8 or 32 int16 products an instruction",
     built_kernel_avx512_vnni, built_kernel_avx512_vnni, built_exact_avx512,
     built_tree_kernel_avx512, lacking_avx512_vnni},
    {"avx_vnni", "AVX-VNNI, 32 int8 or 16 int16 products an instruction", built_kernel_avx_vnni,
     built_kernel_avx_vnni, built_exact_avx2, built_tree_kernel_avx2, lacking_avx_vnni},
    {"avx2", "AVX2, 32 int8 or 16 int16 products in two or three instructions", built_kernel_avx2,
     built_kernel_avx2, built_exact_avx2, built_tree_kernel_avx2, lacking_avx2},
    {"neon_i8mm", "NEON, 32 int8 products an instruction; int16 as neon_dotprod",
     built_kernel_neon_i8mm, built_kernel_neon_dotprod, built_exact_portable,
     built_tree_kernel_portable, lacking_neon_i8mm},
    {"neon_dotprod", "NEON, 16 int8 or 4 int16 products an instruction", built_kernel_neon_dotprod,
     built_kernel_neon_dotprod, built_exact_portable, built_tree_kernel_portable,
     lacking_neon_dotprod},
    {"scalar", "portable C++, any processor", built_kernel_scalar, built_kernel_scalar,
     built_exact_portable, built_tree_kernel_portable, [] { return std::string(); }},
};

InstructionSet make(const Row& row) {
  InstructionSet set;
  set.name = row.name;
  set.description = row.description;
  for (const auto& needed : {row.scan, row.int16_lender}) {
    if (needed.kernel) continue;
    set.reason = needed.why_not;
    return set;
  }
  set.built = true;
  set.reason = row.lacking();
  set.scan = *row.scan.kernel;
  set.scan.int16 = row.int16_lender.kernel->int16;
  if (row.exact.kernel) set.exact = row.exact.kernel;
  // tree_kernel_avx2 alone needs more of the processor than its row.
  const bool fuses = row.tree.kernel != built_tree_kernel_avx2.kernel || lacking_fma().empty();
  if (row.tree.kernel && fuses) set.tree = row.tree.kernel;
  return set;
}

}  // namespace

std::span<const InstructionSet> instruction_sets() {
  // Asked once: neither the processor nor the permission to use AMX changes.
  static const auto all = [] {
    std::vector<InstructionSet> sets;
    for (const Row& row : kRows) sets.push_back(make(row));
    return sets;
  }();
  return all;
}

const InstructionSet& select_instruction_set(const std::string& name) {
  std::string known;
  for (const InstructionSet& set : instruction_sets()) {
    if (name == "auto" && set.supported()) return set;
    if (name == set.name) {
      if (!set.supported()) {
        throw std::runtime_error("instruction set '" + name + "' cannot run here: " + set.reason);
      }
      return set;
    }
    known += std::string(known.empty() ? "" : ", ") + set.name;
  }
  throw std::invalid_argument("instruction_set must be auto or one of " + known + ", got '" + name +
                              "'");
}

}  // namespace gtn
