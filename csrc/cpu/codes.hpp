// Integer codes of unit rows, with rigorous error bounds: what the scan kernels compute on.
//
// A latent x in a cell with centre c is coded as v = x/|x| - c ~ step * code, a source y as
// y/|y| ~ source step * code. Subtracting c adds the same <y/|y|, c> to every score of the cell, so
// only the small part is coded and off-centre data loses nothing. By Cauchy-Schwarz
//   |<y/|y|, x/|x|> - (base + unit * sum)| <= |coded y| residual + |y residual| radius + rounding
// with base = <y/|y|, c>, unit = step * source step, sum the integer dot product, residual and
// radius the largest |v - step * code| and |v| of the cell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/contract.hpp"
#include "core/free_latents.hpp"
#include "core/parallel.hpp"
#include "cpu/kernels.hpp"

namespace gtn {

enum class Arithmetic { int8, int16 };

constexpr int dims_per_step(Arithmetic a) {
  return a == Arithmetic::int8 ? 4 : 2;
}
inline int32_t steps_for(int64_t dim, Arithmetic a) {
  return static_cast<int32_t>((dim + dims_per_step(a) - 1) / dims_per_step(a));
}

struct Cell {
  int64_t first_panel = 0;
  int64_t live = 0;            // coded latents; they fill the cell's panels from the front
  std::vector<double> centre;  // [dim]
  double step = 1.0;
  double residual = 0.0;  // >= |v - step * code| of every latent
  double radius = 0.0;    // >= |v| of every latent
};

// The free latents' codes in panels, cell by cell. Removal fills the hole with the cell's last
// latent, so panels stay dense and nothing is ever repacked.
class LatentCodes {
 public:
  LatentCodes(const Scorer& scorer, const FreeLatents& free, Arithmetic arithmetic,
              Parallel& parallel);

  Arithmetic arithmetic() const { return arithmetic_; }
  int32_t steps() const { return steps_; }
  int64_t live() const;
  const std::vector<Cell>& cells() const { return cells_; }
  const void* panels() const { return panels_.get(); }
  int32_t id_at(int32_t position) const { return id_at_[static_cast<size_t>(position)]; }
  size_t cell_of(int32_t position) const {
    return static_cast<size_t>(cell_of_panel_[static_cast<size_t>(position / kPanelLatents)]);
  }
  void remove(int32_t id);
  int64_t bytes() const;
  // What the codes of n latents take, for budgets.
  static int64_t bytes_for(int64_t n, int64_t dim, Arithmetic arithmetic);

 private:
  struct FreeDeleter {
    void operator()(std::byte* p) const;
  };
  void make_cell(const std::vector<int32_t>& ids, Cell& cell, Parallel& parallel);
  void encode_cell(const std::vector<int32_t>& ids, Cell& cell, Parallel& parallel);
  void unit_row(int32_t id, const double* centre, double* out) const;

  const Scorer& scorer_;
  const DistinctLatents& distinct_;
  Arithmetic arithmetic_;
  int64_t dim_;
  int32_t steps_;
  int64_t panel_count_ = 0;
  std::unique_ptr<std::byte[], FreeDeleter> panels_;  // 64-byte aligned
  std::vector<Cell> cells_;
  std::vector<int32_t> cell_of_panel_;
  std::vector<int32_t> id_at_;        // [panels * 64]
  std::vector<int32_t> position_of_;  // by id, -1 if not coded
};

// One coded source.
struct SourceCode {
  double step = 1.0;
  double coded_norm = 0.0;  // >= |step * code|
  double residual = 0.0;    // >= |y/|y| - step * code|
  int32_t start = 0;        // first value of the kernels' sums
};

// Writes y/|y| of a source row. unit: [dim]
void unit_source(const Rows& sources, int32_t row, double norm, double* unit);

// Inner product of two float64 vectors, within rounding_slack of the truth.
double product(const double* a, const double* b, int64_t dim);

// Codes y/|y| into out ([steps][4 bytes]). limit: largest |int8 code| of the kernel.
SourceCode encode_source(const double* unit, int64_t dim, Arithmetic arithmetic, int32_t limit,
                         void* out);

}  // namespace gtn
