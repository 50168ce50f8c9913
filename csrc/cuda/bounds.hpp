// Bounds: how free latents are grouped, and an upper bound of the cosine of a group's members for
// each source of a window. The one interface of the two ways there are: codes.hpp scans integer
// codes, caps.hpp compares directions in few dimensions. What a group's bound admits, search.hpp
// opens.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/rows_view.hpp"
#include "cuda/scan.hpp"
#include "cuda/sort.hpp"

namespace gtn::cuda {

constexpr int kMostMembers = 128;

// The groups of the latents that were free when they were laid out.
struct Groups {
  int32_t count;
  int32_t members;          // room for so many in each
  const int32_t* ranks;     // [count][members], -1: none
  const int32_t* low_rank;  // [count] the lowest of each
};

// The codes, for bounds of single members. Null where bounds do not come from codes.
struct CodeView {
  const int8_t* latent_codes;
  const GroupCode* groups;
  const int8_t* source_codes;
  const SourceCode* sources;
  const float* base;
  int32_t source_rows;
  int32_t stride;
  Slots slots;
  CodeOrder order;
};

// Bounds of a window's sources, on the device.
struct Uppers {
  float* upper;     // [window][groups]
  int32_t* others;  // [window][groups] where groups have names (largest_sums.hpp), else null
};

// Some consecutive sources in visiting order.
struct Window {
  const int32_t* rows;  // of the sources, on the device
  int32_t count;
};

class Bounds {
 public:
  virtual ~Bounds() = default;

  // Groups the latents of these ranks, on the device in sorter.values(), ascending.
  virtual void lay_out(int32_t count, Sorter& sorter) = 0;
  virtual Groups groups() const = 0;
  virtual CodeView codes() const = 0;

  // upper[i][group] >= cosine(source i, x) for every member x of the group, with room for what the
  // contract's rounding adds: a score is never above upper * norm of the source. others[i][group]
  // names a member, free or not, and bounds the cosines of all others.
  virtual void write_upper(const Window& window, const Uppers& out) = 0;
  virtual bool named() const { return false; }

  // The latents of these ranks (negative: none) are taken.
  virtual void remove(const int32_t* ranks, int32_t count) = 0;

  // Integer multiply-adds that scans did.
  virtual double products() const { return 0; }
  virtual const char* arithmetic() const = 0;
};

}  // namespace gtn::cuda
