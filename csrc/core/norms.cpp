#include "core/norms.hpp"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>

#include "core/contract.hpp"

namespace gtn {
namespace {

enum class Fault { none, not_finite, zero, overflow, underflow };

// Says why a row whose squared norm is out of range is undefined.
Fault diagnose(const Rows& rows, int64_t row, std::vector<double>& values) {
  values.resize(rows.dim);
  Rows plain = rows;
  plain.mean = nullptr;
  widen_row(plain, row, values.data());
  for (double v : values) {
    if (!std::isfinite(v)) return Fault::not_finite;
  }
  widen_row(rows, row, values.data());
  bool zero = true;
  for (double v : values) zero = zero && v == 0.0;
  if (zero) return Fault::zero;
  const double sq = squared_norm(rows, row);
  return sq < 1.0 ? Fault::underflow : Fault::overflow;
}

// Of a row that needs a direction.
bool in_range(double squared) {
  return squared >= DBL_MIN && squared <= DBL_MAX;
}

// Of a row that may be 0.
bool is_finite(double squared) {
  return squared <= DBL_MAX;
}

std::string rule(Fault fault, bool centred) {
  switch (fault) {
    case Fault::not_finite:
      return "must be finite, but NaN or infinity was found in ";
    case Fault::zero:
      return centred ? "must have a direction after centring, but zero norm was found in "
                     : "must have a direction, but zero norm was found in ";
    case Fault::overflow:
      return "must have norms that float64 can hold (rescale them), but overflow was found in ";
    default:
      return "must have norms that float64 can hold (rescale them), but underflow was found in ";
  }
}

// Finds the most basic fault present among the rows that are not `good`, and throws it with its
// rows.
[[noreturn]] void throw_faults(const Rows& rows, const std::vector<double>& squared,
                               bool (*good)(double)) {
  std::vector<double> values;
  Fault worst = Fault::none;
  int64_t found = 0;
  std::vector<int64_t> first;
  for (int64_t i = 0; i < rows.count; ++i) {
    if (good(squared[i])) continue;
    const Fault fault = diagnose(rows, i, values);
    if (worst == Fault::none || fault < worst) {
      worst = fault;
      found = 0;
      first.clear();
    }
    if (fault == worst) {
      ++found;
      if (first.size() < 5) first.push_back(i);
    }
  }
  std::ostringstream out;
  out << rows.name << " " << rule(worst, rows.mean != nullptr) << found << " of " << rows.count
      << " rows: " << (found == 1 ? "row " : "rows ");
  for (size_t i = 0; i < first.size(); ++i) out << (i ? ", " : "") << first[i];
  if (found > std::ssize(first)) out << ", ...";
  throw std::invalid_argument(out.str());
}

std::vector<double> checked_squares(const Rows& rows, Parallel& parallel, bool (*good)(double)) {
  std::vector<double> squares(rows.count);
  std::atomic<bool> bad{false};
  parallel.run(rows.count, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      squares[i] = squared_norm(rows, i);
      if (!good(squares[i])) bad.store(true, std::memory_order_relaxed);
    }
  });
  if (bad.load()) throw_faults(rows, squares, good);
  return squares;
}

}  // namespace

std::vector<double> squared_norms(const Rows& rows, Parallel& parallel) {
  return checked_squares(rows, parallel, is_finite);
}

double largest_coordinate(const Rows& rows, Parallel& parallel) {
  std::mutex mutex;
  double largest = 0.0;
  parallel.run(rows.count, 1024, [&](int64_t begin, int64_t end, int) {
    std::vector<double> row(rows.dim);
    double most = 0.0;
    for (int64_t i = begin; i < end; ++i) {
      widen_row(rows, i, row.data());
      for (const double v : row) most = std::max(most, std::fabs(v));
    }
    std::lock_guard lock(mutex);
    largest = std::max(largest, most);
  });
  return largest;
}

std::vector<double> checked_norms(const Rows& rows, Parallel& parallel) {
  std::vector<double> norms = checked_squares(rows, parallel, in_range);
  parallel.run(rows.count, 1 << 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      norms[i] = std::sqrt(norms[i]);
    }
  });
  return norms;
}

void add_rows(const Rows& rows, int64_t begin, int64_t end, double* sum) {
  std::vector<double> row(rows.dim);
  for (int64_t i = begin; i < end; ++i) {
    widen_row(rows, i, row.data());
    for (int64_t k = 0; k < rows.dim; ++k) sum[k] += row[k];
  }
}

std::vector<double> column_mean(const Rows& rows, Parallel& parallel) {
  constexpr int64_t kBlock = 1024;
  const size_t dim = rows.dim;
  const int64_t blocks = (rows.count + kBlock - 1) / kBlock;
  std::vector<double> mean(dim, 0.0);
  // A bounded batch of partial sums at a time keeps memory small; the order of additions is fixed.
  const int64_t batch = std::max<int64_t>(1, 4 * parallel.threads());
  std::vector<double> partial(batch * dim);
  for (int64_t base = 0; base < blocks; base += batch) {
    const int64_t here = std::min(batch, blocks - base);
    parallel.run(here, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        double* sum = partial.data() + b * dim;
        std::fill(sum, sum + dim, 0.0);
        add_rows(rows, (base + b) * kBlock, std::min(rows.count, (base + b + 1) * kBlock), sum);
      }
    });
    for (int64_t b = 0; b < here; ++b) {
      const double* sum = partial.data() + b * dim;
      for (size_t k = 0; k < dim; ++k) mean[k] += sum[k];
    }
  }
  bool finite = true;
  for (double& m : mean) {
    m /= static_cast<double>(rows.count);
    finite = finite && std::isfinite(m);
  }
  if (!finite) {
    // NaN, infinity or rows of enormous norm: the squares of the plain rows name them. A row of 0
    // is no reason.
    squared_norms(rows, parallel);
    throw std::invalid_argument(std::string(rows.name) +
                                " must have column sums that float64 can hold to be centred "
                                "(rescale them), but they overflow");
  }
  return mean;
}

}  // namespace gtn
