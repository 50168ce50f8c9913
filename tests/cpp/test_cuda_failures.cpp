// What goes wrong around the cuda backend, in the emulator: every CUDA call fails in turn, devices
// and kernels that are not there, calls within calls and threads side by side. An exception or the
// right answer, never anything else, and nothing is kept.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cuda/scan.hpp"
#include "cuda_job.hpp"
#include "device_array.hpp"

using emulation::differences;
using emulation::Job;
using emulation::live_objects;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using reference::Data;

namespace {

int current_device() {
  int device = -1;
  REQUIRE(cudaGetDevice(&device) == cudaSuccess);
  return device;
}

// What a run throws; empty if it does not, and then it is right.
std::string thrown_by(const Job& job, const Result& expected) {
  try {
    const Result r = job.run();
    CHECK(differences(r, expected) == 0);
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("whatever call fails, there is an exception and nothing is kept") {
  const Setting two("GTN_EMULATOR_DEVICES", "2");
  const Data x = make(Shape::gaussian, 20, 12, false, 1);
  const Data y = make(Shape::gaussian, 9, 12, false, 2);
  Job job{x, y};
  job.options.device = 1;
  const Result expected = job.run();
  try {
    job.options.memory = 1;
    job.run();
  } catch (const std::invalid_argument& e) {
    job.options.memory = std::stoll(std::string(e.what()).substr(24));  // all is moved out
  }
  CHECK(differences(job.run(), expected) == 0);
  for (const char* call :
       {"cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaGetDevice", "cudaSetDevice",
        "cudaMemGetInfo", "cudaMalloc", "cudaHostAlloc", "cudaHostGetDevicePointer",
        "cudaStreamCreateWithFlags", "cudaStreamSynchronize", "cudaMemcpyAsync", "cudaMemsetAsync",
        "cudaLaunchKernelEx", "cudaFuncSetAttribute", "cudaDeviceGetAttribute",
        "cudaEventCreateWithFlags", "cudaEventRecord", "cudaEventElapsedTime", "cub"}) {
    int failed = 0;
    for (int nth = 1; nth < 1000; nth += 1 + nth / 8) {
      std::string thrown;
      {
        const Setting failure("GTN_EMULATOR_FAIL",
                              call + std::string(":") + std::to_string(nth) + ":cudaErrorUnknown");
        thrown = thrown_by(job, expected);
      }
      CHECK(live_objects() == 0);
      if (current_device() != 0) {
        CHECK(thrown.empty());  // all went well but the way back
        REQUIRE(cudaSetDevice(0) == cudaSuccess);
      }
      if (nth % 4 == 1) CHECK(thrown_by(job, expected) == "");
      if (thrown.empty()) break;
      ++failed;
    }
    CHECK_MESSAGE(failed > 0, call);
    {
      const Setting failure("GTN_EMULATOR_FAIL", std::string(call) + ":0:cudaErrorIllegalAddress");
      CHECK(thrown_by(job, expected) != "");
    }
    CHECK(live_objects() == 0);
  }
  CHECK(current_device() == 0);
}

TEST_CASE("devices and kernels that are not there") {
  const Data x = make(Shape::gaussian, 5, 3, false, 3), y = make(Shape::gaussian, 5, 3, false, 4);
  Job job{x, y};
  const Result expected = job.run();
  for (const int device : {-1, 1, 100}) {
    job.options.device = device;
    CHECK_THROWS_WITH_AS(
        job.run(),
        ("device must be one of the 1 CUDA devices here, got cuda:" + std::to_string(device))
            .c_str(),
        std::invalid_argument);
  }
  job.options.device = 0;
  job.options.kernel = "none";
  CHECK_THROWS_WITH_AS(job.run(), "backend 'cuda:none' cannot run: there is no kernel of that name",
                       std::invalid_argument);
  job.options.kernel = "wgmma";
  CHECK_THROWS_WITH_AS(job.run(),
                       "backend 'cuda:wgmma' cannot run: cuda:0 (emulated device 0) has compute "
                       "capability 8.0, and wgmma needs compute capability 9.0",
                       std::invalid_argument);
  const gtn::cuda::Device hopper{0, "H", 90, 1};
  CHECK(gtn::cuda::missing(gtn::cuda::scan_wgmma, hopper) == "");
  gtn::cuda::ScanKernel empty = gtn::cuda::scan_wgmma;
  empty.built = false;  // built for 9.0, and not for 9.0a
  CHECK(gtn::cuda::missing(empty, hopper) ==
        "this build has no code for 9.0a, which wgmma needs (GTN_CUDA_CAPABILITIES)");
  job.options.kernel = "dp4a";
  job.rules.cone = 1025;
  CHECK_THROWS_WITH_AS(job.run(),
                       "cone must be at most 1024 for backend 'cuda', got 1025; backend 'cpu' "
                       "takes any",
                       std::invalid_argument);
  CHECK(live_objects() == 0);
}

TEST_CASE("a call within a call, and threads side by side, on one device and on two") {
  const Setting two("GTN_EMULATOR_DEVICES", "2");
  // Enough rows that a run outlasts the time between two polls, also on a quick machine.
  const Data x = make(Shape::gaussian, 300, 20, false, 5);
  const Data y = make(Shape::gaussian, 300, 20, false, 6);
  Job deep{x, y};
  deep.rules.cone = 1024;  // the longest lists: more shared memory than others ask for
  Job plain{x, y};
  const Result expected_deep = deep.run_on_cpu(), expected = plain.run_on_cpu();
  int calls = 0;
  deep.poll = [&] {
    if (++calls > 2) return;
    CHECK(differences(plain.run(), expected) == 0);
    CHECK(current_device() == 0);
  };
  CHECK(differences(deep.run(), expected_deep) == 0);
  CHECK(calls > 0);
  deep.poll = [] {};
  for (const int other : {0, 1}) {
    plain.options.device = other;
    Result on_thread;
    std::thread thread([&] {
      on_thread = plain.run();
      if (current_device() != 0) on_thread = {};
    });
    const Result here = deep.run();
    thread.join();
    CHECK(differences(on_thread, expected) == 0);
    CHECK(differences(here, expected_deep) == 0);
  }
  CHECK(live_objects() == 0);
}
