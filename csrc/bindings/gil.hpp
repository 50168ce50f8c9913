// The GIL: every place of the bindings that takes it, gives it back or calls Python.
//
// Before Python 3.14 a thread that waits for the GIL while the interpreter ends is ended by
// pthread_exit. glibc then unwinds its stack, and the process aborts at the first frame that must
// not throw. Such a thread is parked here for ever, as Python 3.14 does by itself. It keeps what it
// holds, and ends with the process.
//
// Before that, an atexit callback ends runs of other threads: their libraries, such as FAISS, must
// not be at work when the process takes them down.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <thread>

#ifdef __GLIBC__
#include <cxxabi.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

namespace gtn::gil {

[[noreturn]] inline void park() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// Runs `body`, which may wait for the GIL: by itself, or in Python code. Its own frame is unwound
// without the GIL when the interpreter ends, so it must own no Python object.
template <class Body>
auto parked_at_exit(Body body) -> decltype(body()) {
#ifdef __GLIBC__
  try {
    return body();
  } catch (const abi::__forced_unwind&) {
    park();
  }
#else
  return body();
#endif
}

// Holds the GIL on any thread.
class Acquired {
 public:
  Acquired() : state_(parked_at_exit(&ensure)) {}
  ~Acquired() {
    parked_at_exit([this] { PyGILState_Release(state_); });
  }
  Acquired(const Acquired&) = delete;
  Acquired& operator=(const Acquired&) = delete;

 private:
  static PyGILState_STATE ensure() {
    if (!Py_IsInitialized()) park();  // the interpreter ends, or has ended
    return PyGILState_Ensure();
  }

  PyGILState_STATE state_;
};

// Gives the GIL back for a while on a thread that holds it.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  ~Released() {
    parked_at_exit([this] {
      if (!Py_IsInitialized()) park();
      PyEval_RestoreThread(state_);
    });
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* state_;
};

// A Python error on its way through the engine, which holds no GIL and may drop it.
class Raised final : public std::exception {
 public:
  explicit Raised(const pybind11::error_already_set& error)
      : error_(new pybind11::error_already_set(error), [](const pybind11::error_already_set* e) {
          const Acquired gil;
          delete e;
        }) {}
  [[noreturn]] void rethrow() const { throw pybind11::error_already_set(*error_); }

 private:
  std::shared_ptr<const pybind11::error_already_set> error_;
};

inline std::atomic<unsigned> generation{0};  // of runs; grows when atexit callbacks run
inline std::atomic<int> running{0};

// Counts a run, for as long as it may call Python.
class Run {
 public:
  Run() { running.fetch_add(1); }
  ~Run() { running.fetch_sub(1); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
};

// Ends a run when the interpreter ends. Becomes SystemExit, which ends a Python thread in silence.
class Ending final : public std::exception {};

// Runs `body` with the GIL, on any thread of a run that began in a generation. Python errors leave
// as `Raised`.
template <class Body>
auto with_gil(unsigned began, Body body) -> decltype(body()) {
  if (began != generation.load()) throw Ending();
  const Acquired gil;
  try {
    return body();
  } catch (const pybind11::error_already_set& error) {
    throw Raised(error);
  }
}

// Runs `body` without the GIL, on a thread that holds it. `Raised` leaves as the Python error.
template <class Body>
auto without_gil(Body body) -> decltype(body()) {
  try {
    const Released released;
    return body();
  } catch (const Raised& error) {
    error.rethrow();
  } catch (const Ending&) {
    PyErr_SetNone(PyExc_SystemExit);
    throw pybind11::error_already_set();
  }
}

// Ends all runs that have begun, and waits for them, two seconds at most. Runs that begin later, in
// other atexit callbacks, work.
inline void end_runs() {
  generation.fetch_add(1);
  without_gil([] {
    constexpr auto step = std::chrono::milliseconds(5);
    for (int i = 0; i < 400 && running.load() > 0; ++i) std::this_thread::sleep_for(step);
  });
}

// Lets atexit call end_runs. A forked process has none of the other threads.
inline void register_at_exit() {
  pybind11::module_::import("atexit").attr("register")(pybind11::cpp_function(&end_runs));
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, [] { running.store(0); });
#endif
}

// Calls a Python function with the GIL held. Throws error_already_set.
inline pybind11::object call(const pybind11::object& function, const pybind11::tuple& arguments,
                             const pybind11::dict& keywords = {}) {
  PyObject* result = parked_at_exit(
      [&] { return PyObject_Call(function.ptr(), arguments.ptr(), keywords.ptr()); });
  if (result == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::object>(result);
}

}  // namespace gtn::gil
