// Questions to the processor (cpuid, xgetbv) and to the operating system. Each family of processors
// answers for its own instructions and lacks the others'.
#include "cpu/processor.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include <cerrno>
#include <system_error>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace gtn {

#if defined(__x86_64__)
namespace {

struct CpuId {
  unsigned a = 0, b = 0, c = 0, d = 0;  // all 0 for a leaf that the processor does not have
  CpuId(unsigned leaf, unsigned subleaf) { __get_cpuid_count(leaf, subleaf, &a, &b, &c, &d); }
};

bool bit(unsigned word, int place) {
  return (word >> place & 1) != 0;
}

// True if the operating system saves all these state components (bits of XCR0).
bool saves(unsigned components) {
  if (!bit(CpuId(1, 0).c, 27)) return false;  // OSXSAVE: xgetbv may be used
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & components) == components;
}

// Empty if permitted. It holds for all threads of the process, also for those already running.
std::string ask_for_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return "";
  return "Linux does not let this process use AMX tiles: " + std::system_category().message(errno);
#else
  return "AMX tiles are used on Linux only";
#endif
}

}  // namespace

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.

std::string lacking_avx2() {
  return __builtin_cpu_supports("avx2") ? "" : "this processor or operating system lacks AVX2";
}

std::string lacking_fma() {
  return __builtin_cpu_supports("fma") ? "" : "this processor or operating system lacks FMA";
}

std::string lacking_avx_vnni() {
  const bool has = __builtin_cpu_supports("avx2") && bit(CpuId(7, 1).a, 4);
  return has ? "" : "this processor or operating system lacks AVX-VNNI";
}

std::string lacking_avx512_vnni() {
  const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vnni");
  return has ? "" : "this processor or operating system lacks AVX-512 VNNI";
}

std::string lacking_amx_int8() {
  const unsigned features = CpuId(7, 0).d;
  if (!bit(features, 24) || !bit(features, 25)) return "this processor lacks AMX-int8";
  if (!saves(3U << 17)) return "this operating system does not save AMX tiles";
  static const std::string refused = ask_for_tiles();
  return refused.empty() ? lacking_avx512_vnni() : refused;
}

#else

std::string lacking_avx2() {
  return "this processor lacks AVX2";
}
std::string lacking_fma() {
  return "this processor lacks FMA";
}
std::string lacking_avx_vnni() {
  return "this processor lacks AVX-VNNI";
}
std::string lacking_avx512_vnni() {
  return "this processor lacks AVX-512 VNNI";
}
std::string lacking_amx_int8() {
  return "this processor lacks AMX-int8";
}

#endif

#if defined(__aarch64__) && (defined(__linux__) || defined(__APPLE__))
namespace {

#ifdef __linux__
bool has_dot_products() {
  return (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
}
bool has_matrix_products() {
  return (getauxval(AT_HWCAP2) >> 13 & 1) != 0;  // HWCAP2_I8MM
}
#else
bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool has_dot_products() {
  return has("hw.optional.arm.FEAT_DotProd");
}
bool has_matrix_products() {
  return has("hw.optional.arm.FEAT_I8MM");
}
#endif

}  // namespace

std::string lacking_neon_dotprod() {
  return has_dot_products() ? "" : "this processor lacks NEON dot products";
}

std::string lacking_neon_i8mm() {
  if (!has_dot_products()) return lacking_neon_dotprod();
  return has_matrix_products() ? "" : "this processor lacks NEON int8 matrix products";
}

#else

std::string lacking_neon_dotprod() {
  return "this processor lacks NEON dot products";
}
std::string lacking_neon_i8mm() {
  return "this processor lacks NEON int8 matrix products";
}

#endif

}  // namespace gtn
