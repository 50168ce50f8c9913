// The kernel that uses bulk copies, cuda:wgmma, in whole matchings over the emulator; and that one
// whose copies or barriers are broken is found out and makes no pairs.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "cuda/kernel_trust.hpp"
#include "cuda/scan_check.hpp"
#include "cuda_job.hpp"
#include "device_array.hpp"

namespace {

using emulation::differences;
using emulation::Job;
using emulation::live_objects;
using emulation::make;
using emulation::Result;
using emulation::Setting;
using emulation::Shape;
using gtn::cuda::check_scan;
using gtn::cuda::forget_verdicts;
using reference::Data;

std::string thrown_by(const Job& job) {
  try {
    job.run();
  } catch (const gtn::cuda::WrongKernel& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("wgmma: matchings equal those of the cpu backend, in every bit") {
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  int seed = 0;
  // Chunks of 64 columns and of 32, and rows whose groups have names.
  for (const int64_t dim : {9, 40, 64, 90, 130, 260, 520}) {
    for (const Shape shape : {Shape::gaussian, Shape::duplicates, Shape::tiny_clusters}) {
      const Setting other_seed("GTN_EMULATOR_SEED", std::to_string(++seed));
      const Data x = make(shape, 150, dim, seed % 2 == 0, 1), y = make(shape, 150, dim, false, 2);
      Job job{x, y, {.cone = seed % 3 == 0 ? 3 : 1}};
      job.options.kernel = "wgmma";
      const Result r = job.run();
      CAPTURE(dim);
      CHECK(r.stats.instruction_set == "wgmma");
      CHECK(r.stats.kernel_fault.empty());
      CHECK(differences(r, job.run_on_cpu()) == 0);
    }
  }
  CHECK(live_objects() == 0);
}

TEST_CASE("wgmma: codes in memory of the host are read in their order") {
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  const Data x = make(Shape::gaussian, 900, 200, false, 3),
             y = make(Shape::gaussian, 60, 200, false, 4);
  Job job{x, y};
  job.options.kernel = "wgmma";
  bool mapped = false;
  for (int64_t memory = 600 << 10; memory <= 1400 << 10 && !mapped; memory += 50 << 10) {
    job.options.memory = memory;
    try {
      const Result r = job.run();
      mapped = r.stats.codes_mapped;
      CHECK(differences(r, job.run_on_cpu()) == 0);
    } catch (const gtn::cuda::OutOfMemory&) {  // too little even so
    }
  }
  CHECK(mapped);
}

TEST_CASE("wgmma: copies and barriers that lie are found out") {
  const Setting hopper("GTN_EMULATOR_CAPABILITY", "90");
  const Data x = make(Shape::gaussian, 300, 100, false, 5),
             y = make(Shape::gaussian, 90, 100, false, 6);
  Job job{x, y};
  const Result expected = job.run_on_cpu();
  job.options.kernel = "wgmma";
  for (const std::string what : {"short", "early", ""}) {
    CAPTURE(what);
    const std::string lie = what.empty() ? "" : what + ":";
    for (const int32_t dim : {30, 300, 700}) {
      const Setting first("GTN_EMULATOR_LIE", lie + "1");
      CHECK(check_scan(gtn::cuda::scan_wgmma, {dim, 700, 70, 2, dim > 512}, 2, nullptr).wrong > 0);
    }
    forget_verdicts();
    {
      const Setting first("GTN_EMULATOR_LIE", lie + "1");
      const Result r = job.run();
      CHECK(differences(r, expected) == 0);
      CHECK(r.stats.instruction_set == "dp4a");
      CHECK(r.stats.kernel_fault.find("wgmma: its self-test differs from dp4a in ") == 0);
    }
    forget_verdicts();
    {
      const Setting second("GTN_EMULATOR_LIE", lie + "2");
      CHECK(thrown_by(job) == "the scan kernel wgmma found other bounds than its codes give");
      const Result again = job.run();
      CHECK(differences(again, expected) == 0);
      CHECK(again.stats.instruction_set == "dp4a");
    }
    forget_verdicts();
  }
  CHECK(live_objects() == 0);
}
