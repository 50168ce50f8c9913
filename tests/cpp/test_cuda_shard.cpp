// Shards on a device, over the emulator: equal to the literal reference, with others and with
// shards on the host; memory; a kernel that lies.
#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "core/host_shard.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/instruction_sets.hpp"
#include "cuda/backend_cuda.hpp"
#include "cuda_emulator/device.hpp"
#include "cuda_job.hpp"
#include "sharded_job.hpp"

using reference::Data;
using sharded::Dealing;
using sharded::Job;

namespace {

sharded::MakeShard on_device(const std::string& kernel = "dp4a", int64_t memory = 0) {
  return [=](const sharded::Part& p) {
    gtn::cuda::Options options;
    options.kernel = kernel;
    options.memory = memory;
    return gtn::cuda::make_shard(p.latents, p.index, p.order, p.sources, options, p.parallel,
                                 p.stats);
  };
}

// Every other rank's shard is on the host.
sharded::MakeShard mixed() {
  return [device = on_device()](const sharded::Part& p) -> std::unique_ptr<gtn::Shard> {
    if (p.latents.count % 2 == 0) return device(p);
    const gtn::InstructionSet& set = gtn::select_instruction_set("scalar");
    return std::make_unique<gtn::HostShard>(
        p.latents, p.index, p.order, p.sources, *set.exact,
        gtn::cpu_backend(set, 0, p.latents.count, p.sources.count, p.latents.dim), p.parallel,
        p.stats);
  };
}

}  // namespace

TEST_CASE("shards on a device: equal to the reference") {
  const int64_t before = emulation::live_objects();
  for (const emulation::Shape shape :
       {emulation::Shape::gaussian, emulation::Shape::duplicates, emulation::Shape::clusters}) {
    CAPTURE(emulation::name_of(shape));
    for (const int64_t dim : {3, 20}) {
      const Data x = emulation::make(shape, 220, dim, false, 61);
      const Data y = reference::make(reference::Kind::gaussian, 200, dim, 62);
      sharded::check_equal_to_reference({.x = x, .y = y, .world = 1, .make = on_device()});
      sharded::check_equal_to_reference(
          {.x = x, .y = y, .world = 2, .cone = 5, .chunk = 70, .make = mixed()});
    }
  }
  for (const int64_t dim : {12, 500}) {  // 500: groups have names
    const int64_t n = dim == 12 ? 150 : 60;
    const Data x = emulation::make(emulation::Shape::clusters, n, dim, true, 63);
    const Data y = reference::make(reference::Kind::gaussian, n, dim, 64);
    sharded::check_equal_to_reference({.x = x,
                                       .y = y,
                                       .world = 3,
                                       .dealing = Dealing::all_to_last,
                                       .order = gtn::Order::norm_desc,
                                       .make = on_device("mma")});
  }
  CHECK(emulation::live_objects() == before);
}

TEST_CASE("shards on a device go on behind an earlier run") {
  const Data x = reference::make(reference::Kind::gaussian, 160, 10, 65);
  const auto whole = reference::match(x, x, {}).visited;
  Job job{.x = x, .y = x, .make = on_device()};
  job.prefix.assign(whole.begin(), whole.begin() + 90);
  for (const sharded::Outcome& out : run(job)) CHECK(out.visited == whole);
  Job twice{.x = x, .y = x, .world = 1, .make = on_device()};
  twice.prefix = {whole[0], whole[0]};
  const std::vector<sharded::Outcome> outcomes = run(twice);
  REQUIRE(outcomes[0].error);
  CHECK_THROWS_AS(std::rethrow_exception(outcomes[0].error), std::invalid_argument);
}

TEST_CASE("shards on a device within the least memory, and with less") {
  const Data x = reference::make(reference::Kind::gaussian, 300, 16, 66);
  Job job{.x = x, .y = x, .world = 1, .make = on_device("dp4a", 1000)};
  std::string needed;
  try {
    std::rethrow_exception(run(job)[0].error);
  } catch (const std::invalid_argument& error) {
    needed = error.what();
  }
  REQUIRE(needed.rfind("memory must be at least ", 0) == 0);
  job.make = on_device("dp4a", std::stoll(needed.substr(24)));
  sharded::check_equal_to_reference(job);
}
