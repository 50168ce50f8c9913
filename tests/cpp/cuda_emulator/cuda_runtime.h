// Stands in for CUDA's <cuda_runtime.h>, so that a .cu file can be compiled as C++ and run on the
// CPU: each thread of a block is a fiber. Not a simulator of a GPU: no caches, no banks, no
// scheduling of warps, no memory model; whole threads run from one wait to the next.
//
// threads.hpp     what a kernel sees of its grid     grid.cpp       runs a grid
// arithmetic.hpp  instructions on numbers            fiber.cpp      switches stacks
// runtime.hpp     the functions a host calls         runtime.cpp, memory.cpp, streams.cpp
// settings.hpp    what the environment asks for      cub/cub.cuh    device-wide algorithms
#pragma once

#include <cmath>

#include "arithmetic.hpp"
#include "runtime.hpp"
#include "threads.hpp"
#include "types.hpp"

namespace gtn::emulated {
unsigned char* dynamic_shared();
}
