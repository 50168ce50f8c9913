// Implements dispatch.hpp. __builtin_cpu_supports also asks whether the operating system saves the
// wide registers (XGETBV), so "supported" covers both.
#include "cpu/dispatch.hpp"

#include <stdexcept>

namespace gtn {

#ifdef GTN_KERNEL_AVX512_VNNI
extern const Kernel kernel_avx512_vnni;
#endif
#ifdef GTN_KERNEL_AVX2
extern const Kernel kernel_avx2;
#endif
extern const Kernel kernel_scalar;

namespace {

struct Entry {
  const char* name;
  const char* description;
  const Kernel* kernel;  // null if not built for this processor family
};

const Entry kEntries[] = {
    {"avx512_vnni", "AVX-512 VNNI, 64 int8 or 32 int16 products an instruction",
#ifdef GTN_KERNEL_AVX512_VNNI
     &kernel_avx512_vnni
#else
     nullptr
#endif
    },
    {"avx2", "AVX2, 32 int8 or 16 int16 products an instruction",
#ifdef GTN_KERNEL_AVX2
     &kernel_avx2
#else
     nullptr
#endif
    },
    {"scalar", "portable C++, any processor", &kernel_scalar},
};

std::string why_not(const Entry& e) {
  if (!e.kernel) return "not built for this processor family";
  if (!e.kernel->supported()) return "this processor or operating system lacks it";
  return "";
}

}  // namespace

std::vector<KernelInfo> list_kernels() {
  std::vector<KernelInfo> infos;
  for (const Entry& e : kEntries) {
    infos.push_back({e.name, e.description, e.kernel != nullptr, e.kernel && e.kernel->supported(),
                     why_not(e)});
  }
  return infos;
}

const Kernel& select_kernel(const std::string& name) {
  std::string known;
  for (const Entry& e : kEntries) {
    const std::string reason = why_not(e);
    if (name == "auto" && reason.empty()) return *e.kernel;
    if (name == e.name) {
      if (!reason.empty()) {
        throw std::runtime_error("instruction set '" + name + "' cannot run here: " + reason);
      }
      return *e.kernel;
    }
    known += std::string(known.empty() ? "" : ", ") + e.name;
  }
  throw std::invalid_argument("instruction_set must be auto or one of " + known + ", got '" + name +
                              "'");
}

}  // namespace gtn
