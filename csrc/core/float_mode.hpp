// DefaultFloatMode: the IEEE default (round to nearest, denormals kept) for a thread while it
// lives. Callers may run in another mode, set by themselves or by a library linked with fast-math,
// and threads inherit it; the contract's answer must not depend on it.
#pragma once

#include <cfenv>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace gtn {

class DefaultFloatMode {
 public:
  DefaultFloatMode() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
#if defined(__x86_64__)
    _mm_setcsr(0x1f80);  // older C libraries leave "flush to zero" as it is
#endif
  }
  ~DefaultFloatMode() { std::fesetenv(&before_); }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace gtn
