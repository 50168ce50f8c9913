// Implements kernels_to_test.hpp.
#include "kernels_to_test.hpp"

#include <stdexcept>

#include "cpu/dispatch.hpp"

namespace gtn {
extern const Kernel emulated_amx_int8;
extern const Kernel emulated_avx_vnni;
}  // namespace gtn

const std::vector<gtn::Kernel>& kernels_to_test() {
  static const auto all = [] {
    std::vector<gtn::Kernel> kernels;
    for (const auto& info : gtn::list_kernels()) {
      if (info.supported) kernels.push_back(gtn::select_kernel(info.name));
    }
    kernels.push_back(gtn::emulated_avx_vnni);
    kernels.back().name = "emulated avx_vnni";
    kernels.push_back(gtn::emulated_amx_int8);
    kernels.back().name = "emulated amx_int8";
    kernels.back().int16 = gtn::select_kernel("scalar").int16;
    return kernels;
  }();
  return all;
}

const gtn::Kernel& kernel_to_test(const std::string& name) {
  for (const gtn::Kernel& k : kernels_to_test()) {
    if (k.name == name) return k;
  }
  throw std::invalid_argument("no kernel " + name);
}
