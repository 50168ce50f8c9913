// Scan kernels that are wrong, in the emulator: the check against dp4a, the self-test before the
// first scan, verdicts that last, and the environment variable that forbids kernels.
#include <doctest/doctest.h>

#include <string>

#include "cuda/backend_cuda.hpp"
#include "cuda/kernel_trust.hpp"
#include "cuda/scan_check.hpp"
#include "cuda_emulator/device.hpp"
#include "cuda_job.hpp"
#include "device_array.hpp"

using emulation::differences;
using emulation::Job;
using emulation::live_objects;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using gtn::cuda::check_scan;
using gtn::cuda::ScanCheck;
using gtn::cuda::ScanKernel;
using gtn::cuda::ScanTask;
using reference::Data;

namespace {

// Verdicts are those of one test alone.
struct Fresh {
  Fresh() { gtn::cuda::forget_verdicts(); }
  ~Fresh() { gtn::cuda::forget_verdicts(); }
};

// Scans that write nothing, and one bound of all that is the next float.
void idle_scan(const ScanTask&, int, cudaStream_t) {}
__global__ void next_float(float* bound) {
  *bound = __int_as_float(__float_as_int(*bound) + 1);
}
void rounded_scan(const ScanTask& task, int multiprocessors, cudaStream_t stream) {
  gtn::cuda::scan_dp4a.scan(task, multiprocessors, stream);
  gtn::cuda::launch(next_float, 1, 1, 0, stream, task.upper + 7);
}

std::string thrown_by(const Job& job) {
  try {
    job.run();
  } catch (const gtn::cuda::WrongKernel& e) {
    return std::string("wrong: ") + e.what();
  } catch (const std::invalid_argument& e) {
    return std::string("invalid: ") + e.what();
  }
  return "";
}

constexpr const char* kFound = "the scan kernel mma found other bounds than its codes give";

}  // namespace

TEST_CASE("the check of a kernel: right ones pass, one bound of all is enough to fail") {
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  for (const int32_t dim : {9, 300}) {
    for (const int32_t sources : {1, 70}) {
      for (const ScanKernel* kernel :
           {&gtn::cuda::scan_dp4a, &gtn::cuda::scan_mma, &gtn::cuda::scan_wgmma}) {
        const ScanCheck found = check_scan(*kernel, {dim, 200, sources, 1}, 2, nullptr);
        CHECK(found.bounds == int64_t{sources} * 2 * gtn::cuda::kTileGroups);
        CHECK(found.wrong == 0);
      }
    }
  }
  // Groups with names have two bounds each.
  for (const ScanKernel* kernel :
       {&gtn::cuda::scan_dp4a, &gtn::cuda::scan_mma, &gtn::cuda::scan_wgmma}) {
    const ScanCheck found = check_scan(*kernel, {520, 200, 70, 2, true}, 2, nullptr);
    CHECK(found.bounds == 2 * 70 * gtn::cuda::kTileGroups);
    CHECK(found.wrong == 0);
    const Setting lie("GTN_EMULATOR_LIE", "1");
    const bool lies = kernel != &gtn::cuda::scan_dp4a;
    CHECK((check_scan(*kernel, {520, 200, 70, 2, true}, 2, nullptr).wrong > 0) == lies);
  }
  const ScanCheck idle = check_scan({"idle", "", 75, 0, idle_scan}, {20, 128, 5, 1}, 2, nullptr);
  CHECK(idle.wrong == idle.bounds);
  CHECK(idle.source == 0);
  CHECK(idle.group == 0);
  const ScanCheck one = check_scan({"one", "", 75, 0, rounded_scan}, {20, 128, 5, 1}, 2, nullptr);
  CHECK(one.wrong == 1);
  CHECK(one.source == 0);
  CHECK(one.group == 7);
  CHECK(one.found != one.expected);
  CHECK(live_objects() == 0);
}

TEST_CASE("the check of a kernel: tensor cores that lose the products of a tile are found") {
  for (const auto& [kernel, capability] : {std::pair{&gtn::cuda::scan_mma, "75"},
                                           {&gtn::cuda::scan_mma, "80"},
                                           {&gtn::cuda::scan_wgmma, "90"}}) {
    const Setting device("GTN_EMULATOR_CAPABILITY", capability);
    for (const int32_t dim : {20, 300}) {
      const Setting lie("GTN_EMULATOR_LIE", "1");
      const ScanCheck found = check_scan(*kernel, {dim, 300, 70, 2}, 2, nullptr);
      CHECK(found.wrong > 0);
      CHECK(found.wrong < found.bounds);
    }
  }
}

TEST_CASE("a kernel that fails its self-test is replaced, and the pairs are right") {
  const Fresh fresh;
  const Data x = make(Shape::clusters, 90, 40, false, 1),
             y = make(Shape::gaussian, 40, 40, false, 2);
  Job job{x, y};
  const Result expected = job.run();
  job.options.kernel = "mma";
  {
    const Setting lie("GTN_EMULATOR_LIE", "1");
    for (const char* asked : {"mma", ""}) {
      job.options.kernel = asked;
      const Result r = job.run();
      CHECK(differences(r, expected) == 0);
      CHECK(r.stats.instruction_set == "dp4a");
      CHECK(r.stats.kernel_fault.find("mma: its self-test differs from dp4a in ") == 0);
    }
    {
      const Setting forbid("GTN_CUDA_FORBID_KERNELS", "dp4a");
      CHECK(thrown_by(job).find("wrong: the scan kernel mma is wrong here (its self-test ") == 0);
    }
    const Data flat = make(Shape::gaussian, 40, 5, false, 3);
    Job caps{flat, flat};  // nothing is scanned
    caps.options.kernel = "mma";
    const Result r = caps.run();
    CHECK(r.stats.instruction_set == "mma");
    CHECK(r.stats.kernel_fault.empty());
  }
  // The verdict lasts, whatever the tensor cores do now.
  CHECK(job.run().stats.instruction_set == "dp4a");
  gtn::cuda::forget_verdicts();
  const Result r = job.run();
  CHECK(r.stats.instruction_set == "mma");
  CHECK(r.stats.kernel_fault.empty());
  CHECK(live_objects() == 0);
}

TEST_CASE("a kernel that turns wrong later ends the run, and dp4a has the next one") {
  const Fresh fresh;
  const Data x = make(Shape::gaussian, 300, 40, false, 4),
             y = make(Shape::gaussian, 90, 40, false, 5);
  Job job{x, y};
  const Result expected = job.run_on_cpu();
  job.options.kernel = "mma";
  const Setting lie("GTN_EMULATOR_LIE", "2");  // the first launch is the self-test's
  CHECK(thrown_by(job) == std::string("wrong: ") + kFound);
  const Result again = job.run();
  CHECK(differences(again, expected) == 0);
  CHECK(again.stats.instruction_set == "dp4a");
  CHECK(again.stats.kernel_fault == std::string("mma: ") + kFound);
  CHECK(live_objects() == 0);
}

TEST_CASE("a self-test that finds no memory is left for another time") {
  const Fresh fresh;
  const Data x = make(Shape::gaussian, 50, 40, false, 6);
  Job job{x, x};
  job.options.kernel = "mma";
  const Setting none("GTN_EMULATOR_FAIL", "cudaMalloc:2");
  const Result r = job.run();
  CHECK(differences(r, job.run_on_cpu()) == 0);
  CHECK(r.stats.instruction_set == "mma");
}

TEST_CASE("the environment forbids kernels") {
  const Data x = make(Shape::gaussian, 20, 12, false, 7);
  Job job{x, x};
  const auto says = [&](const std::string& variable, const std::string& kernel) {
    const Setting forbid("GTN_CUDA_FORBID_KERNELS", variable);
    job.options.kernel = kernel;
    return thrown_by(job);
  };
  const std::string cannot =
      "invalid: backend 'cuda:mma' cannot run: the environment variable "
      "GTN_CUDA_FORBID_KERNELS ";
  CHECK(says("mma", "mma") == cannot + "forbids it");
  CHECK(says("wgmma,mma", "mma") == cannot + "forbids it");
  CHECK(says("mma,mmma", "mma") == cannot + "names 'mmma', which is no kernel");
  CHECK(says("wgmma,", "mma") == "");
  CHECK(says("mma,dp4a", "") != "");
  const Setting forbid("GTN_CUDA_FORBID_KERNELS", "mma");
  job.options.kernel = "";
  CHECK(job.run().stats.instruction_set == "dp4a");
}

TEST_CASE("memory is freed when its stream has nothing left to do") {
  const Data x = make(Shape::gaussian, 300, 12, false, 8);
  Job job{x, x};
  const int64_t before = gtn::emulated::freed_while_busy();
  int polls = 0;
  job.poll = [&] {
    if (++polls > 3) throw std::runtime_error("enough");
  };
  // A run may be over before it has polled so often.
  const auto runs = [&] {
    for (int i = 0; i < 100; ++i) job.run();
  };
  CHECK_THROWS_AS(runs(), std::runtime_error);
  CHECK(polls > 3);
  job.poll = [] {};
  for (const int failing : {3, 9, 20}) {
    const Setting failure("GTN_EMULATOR_FAIL",
                          "cudaLaunchKernelEx:" + std::to_string(failing) + ":cudaErrorUnknown");
    CHECK_THROWS_AS(job.run(), gtn::cuda::Error);
  }
  CHECK(gtn::emulated::freed_while_busy() == before);
}
