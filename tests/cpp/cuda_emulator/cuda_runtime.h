// Stands in for CUDA's <cuda_runtime.h>, so that a .cu file can be compiled as C++ and run on the
// CPU: each thread of a block is a fiber. Not a simulator of a GPU: no caches, no banks, no warps
// in step. Whole threads run from one wait to the next, in an order drawn at random; the sanitizers
// see memory out of bounds (address), and threads that share memory without a barrier (thread).
//
// threads.hpp     what a kernel sees of its grid     grid.cpp       runs a grid
// arithmetic.hpp  instructions on numbers            fiber.cpp      switches stacks
// runtime.hpp     the functions a host calls         runtime.cpp, memory.cpp, streams.cpp
// settings.hpp    what the environment asks for      races.hpp, sanitizers.hpp
// cub/cub.cuh     device-wide algorithms
#pragma once

#include <cmath>

#include "arithmetic.hpp"
#include "runtime.hpp"
#include "threads.hpp"
#include "types.hpp"

namespace gtn::emulated {
unsigned char* dynamic_shared();
}
