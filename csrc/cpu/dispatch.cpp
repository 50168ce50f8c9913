// Implements dispatch.hpp.
#include "cpu/dispatch.hpp"

#include <cstring>
#include <stdexcept>

#include "cpu/built_kernels.hpp"
#include "cpu/processor.hpp"

namespace gtn {
namespace {

struct Described {
  const char* name;
  const char* description;
  const char* int16_from;  // the kernel whose int16 form it uses; null for its own
};

// Best first. What this build has of them is in built_kernels.hpp, which CMake writes.
constexpr Described kDescribed[] = {
    {"amx_int8", "AMX, 16,384 int8 products an instruction; int16 as avx512_vnni", "avx512_vnni"},
    {"avx512_vnni", "AVX-512 VNNI, 64 int8 or 32 int16 products an instruction", nullptr},
    {"avx_vnni", "AVX-VNNI, 32 int8 or 16 int16 products an instruction", nullptr},
    {"avx2", "AVX2, 32 int8 or 16 int16 products in two or three instructions", nullptr},
    {"neon_i8mm", "NEON, 32 int8 products an instruction; int16 as neon_dotprod", "neon_dotprod"},
    {"neon_dotprod", "NEON, 16 int8 or 4 int16 products an instruction", nullptr},
    {"scalar", "portable C++, any processor", nullptr},
};

const BuiltKernel& built(const char* name) {
  for (const BuiltKernel& b : kBuiltKernels) {
    if (std::strcmp(b.name, name) == 0) return b;
  }
  throw std::logic_error("kernel " + std::string(name) + " is not in the registry");
}

struct Entry {
  const char* name;
  const char* description;
  bool built;
  Kernel kernel;
  std::string reason;  // why it cannot run here
};

Entry make(const Described& d) {
  const BuiltKernel& own = built(d.name);
  const BuiltKernel& lender = d.int16_from ? built(d.int16_from) : own;
  if (!own.kernel) return {d.name, d.description, false, {}, own.why_not};
  if (!lender.kernel) return {d.name, d.description, false, {}, lender.why_not};
  Kernel kernel = *own.kernel;
  kernel.int16 = lender.kernel->int16;
  return {d.name, d.description, true, kernel, lacking_for(d.name)};
}

// Asked once: neither the processor nor the permission to use AMX changes.
const auto& entries() {
  static const auto all = [] {
    std::vector<Entry> list;
    for (const Described& d : kDescribed) list.push_back(make(d));
    return list;
  }();
  return all;
}

}  // namespace

std::vector<KernelInfo> list_kernels() {
  std::vector<KernelInfo> infos;
  for (const Entry& e : entries()) {
    infos.push_back({e.name, e.description, e.built, e.reason.empty(), e.reason});
  }
  return infos;
}

const Kernel& select_kernel(const std::string& name) {
  std::string known;
  for (const Entry& e : entries()) {
    if (name == "auto" && e.reason.empty()) return e.kernel;
    if (name == e.name) {
      if (!e.reason.empty()) {
        throw std::runtime_error("instruction set '" + name + "' cannot run here: " + e.reason);
      }
      return e.kernel;
    }
    known += std::string(known.empty() ? "" : ", ") + e.name;
  }
  throw std::invalid_argument("instruction_set must be auto or one of " + known + ", got '" + name +
                              "'");
}

}  // namespace gtn
