// What the address sanitizer is told: switches of stacks, and memory that must not be touched now.
// Without it all of this is nothing.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GTN_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GTN_ADDRESS_SANITIZER
#endif

#ifdef GTN_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace gtn::emulated {

#ifdef GTN_ADDRESS_SANITIZER
inline void poison(const void* memory, size_t bytes) {
  __asan_poison_memory_region(memory, bytes);
}
inline void unpoison(const void* memory, size_t bytes) {
  __asan_unpoison_memory_region(memory, bytes);
}
inline void sanitizer_leaves_for(void** fake_stack, const void* bottom, size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
}
inline void sanitizer_has_entered(void* fake_stack, const void** left_bottom, size_t* left_size) {
  __sanitizer_finish_switch_fiber(fake_stack, left_bottom, left_size);
}
#else
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
inline void sanitizer_leaves_for(void**, const void*, size_t) {}
inline void sanitizer_has_entered(void*, const void**, size_t*) {}
#endif

}  // namespace gtn::emulated
