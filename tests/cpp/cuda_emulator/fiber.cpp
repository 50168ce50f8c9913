// Switching stacks: callee-saved registers are pushed, stack pointers exchanged. The address
// sanitizer is told of each switch.
#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "sanitizers.hpp"

extern "C" void gtn_emulated_switch(void** leave, void* enter);

#define GTN_STRING(x) #x
#define GTN_EXPAND(x) GTN_STRING(x)
#define GTN_SYMBOL GTN_EXPAND(__USER_LABEL_PREFIX__) "gtn_emulated_switch"

#if defined(__x86_64__)
asm(".text\n.globl " GTN_SYMBOL "\n" GTN_SYMBOL
    ":\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");
#elif defined(__aarch64__)
asm(".text\n.globl " GTN_SYMBOL "\n" GTN_SYMBOL
    ":\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n"
    "  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n"
    "  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n");
#else
#error "the emulator has no fiber switch for this processor"
#endif

namespace gtn::emulated {

namespace {

constexpr size_t kStackBytes = 256 << 10;
thread_local Fiber* left = nullptr;  // by the switch under way
thread_local Fiber* entered = nullptr;

size_t page_bytes() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Fiber::Fiber(void (*entry)()) {
  const size_t guard = page_bytes();
  void* mapping = mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping, guard, PROT_NONE);
  mapping_ = mapping;
  size_ = kStackBytes;
  auto* base = static_cast<unsigned char*>(mapping) + guard;
  bottom_ = base;
  auto* top = reinterpret_cast<uintptr_t*>(base + kStackBytes);
#if defined(__x86_64__)
  // Zeros for six registers, the address to return to, and a zero in place of entry's caller.
  top[-2] = reinterpret_cast<uintptr_t>(entry);
  stack_pointer_ = top - 8;
#else
  // x30, the address to return to, is the twelfth of twenty saved registers.
  top[-20 + 11] = reinterpret_cast<uintptr_t>(entry);
  stack_pointer_ = top - 20;
#endif
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
  unpoison(bottom_, size_);  // a fiber may have been left in the middle of something
  munmap(mapping_, page_bytes() + kStackBytes);
}

void Fiber::switch_to(Fiber& next) {
  left = this;
  entered = &next;
  sanitizer_leaves_for(&fake_stack_, next.bottom_, next.size_);
  gtn_emulated_switch(&stack_pointer_, next.stack_pointer_);
  arrived();
}

void Fiber::arrived() {
  sanitizer_has_entered(entered->fake_stack_, &left->bottom_, &left->size_);
}

}  // namespace gtn::emulated
