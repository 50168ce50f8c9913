// FunctionRef: a callable that someone else owns, such as a lambda for the time of a call. Unlike
// std::function it copies nothing and allocates nothing.
#pragma once

#include <type_traits>

namespace gtn {

template <class Signature>
class FunctionRef;

template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  FunctionRef() = default;  // calls nothing, and must not be called
  // Implicit, so that a lambda can be an argument. The callable must outlive this object.
  template <class Callable>
    requires(!std::is_same_v<Callable, FunctionRef>)
  FunctionRef(const Callable& callable)  // NOLINT(google-explicit-constructor)
      : callable_(&callable), call_([](const void* to, Arguments... arguments) -> Result {
          return (*static_cast<const Callable*>(to))(static_cast<Arguments&&>(arguments)...);
        }) {}

  explicit operator bool() const { return call_ != nullptr; }
  Result operator()(Arguments... arguments) const {
    return call_(callable_, static_cast<Arguments&&>(arguments)...);
  }

 private:
  const void* callable_ = nullptr;
  Result (*call_)(const void*, Arguments...) = nullptr;
};

// Long work calls this every now and then; an exception from it ends the work.
using Poll = FunctionRef<void()>;

}  // namespace gtn
