// A fiber: a stack of its own that can be left and come back to, on the thread that made it.
// Nothing here knows of CUDA; who runs when is grid.cpp's.
#pragma once

#include <cstddef>

namespace gtn::emulated {

class Fiber {
 public:
  // Stands for the stack that the caller runs on.
  Fiber() = default;
  // Runs entry, which must not return, on a new stack when first switched to.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Leaves *this, which must be running, for another; returns when something switches back.
  void switch_to(Fiber& next);
  // To be called first by entry.
  static void arrived();

 private:
  void* mapping_ = nullptr;  // null: not a stack of ours
  void* stack_pointer_ = nullptr;
  // For the address sanitizer.
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
};

}  // namespace gtn::emulated
