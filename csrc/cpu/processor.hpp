// Why this processor and its operating system cannot run the instructions of a kernel; empty if
// they can. Compiled without instruction-set flags, so that asking is safe everywhere.
#pragma once

#include <string>

namespace gtn {

std::string lacking_avx2();
std::string lacking_fma();
std::string lacking_avx_vnni();
std::string lacking_avx512_vnni();
// The first call asks Linux to let this process use tiles.
std::string lacking_amx_int8();
std::string lacking_neon_dotprod();
std::string lacking_neon_i8mm();

}  // namespace gtn
