// Implements contract.hpp. One template holds the order of operations; everything else calls it.
#include "core/contract.hpp"

#include <cmath>

namespace gtn {
namespace {

template <class T, bool Centred>
struct Row {
  const T* data;
  const double* mean;
  double operator[](int64_t k) const {
    if constexpr (Centred) {
      return static_cast<double>(data[k]) - mean[k];
    } else {
      return static_cast<double>(data[k]);
    }
  }
};

template <class T, bool Centred>
Row<T, Centred> row_of(const Rows& rows, int64_t row) {
  return {static_cast<const T*>(rows.data) + row * rows.dim, rows.mean};
}

template <class A, class B>
double dot(A a, B b, int64_t dim) {
  double s[8] = {};
  int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    for (int j = 0; j < 8; ++j) s[j] += a[k + j] * b[k + j];
  }
  for (int j = 0; k < dim; ++k, ++j) s[j] += a[k] * b[k];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

template <class X, bool Centred, class Y>
double dot_rows(const Rows& x, int64_t i, const Rows& y, int64_t j) {
  return dot(row_of<X, Centred>(x, i), row_of<Y, false>(y, j), x.dim);
}

// Calls f with a Row of the right type.
template <class F>
auto with_row(const Rows& rows, int64_t row, F f) {
  if (rows.dtype == DType::f32) {
    return rows.mean ? f(row_of<float, true>(rows, row)) : f(row_of<float, false>(rows, row));
  }
  return rows.mean ? f(row_of<double, true>(rows, row)) : f(row_of<double, false>(rows, row));
}

}  // namespace

double squared_norm(const Rows& rows, int64_t row) {
  return with_row(rows, row, [&](auto r) { return dot(r, r, rows.dim); });
}

void widen_row(const Rows& rows, int64_t row, double* out) {
  with_row(rows, row, [&](auto r) {
    for (int64_t k = 0; k < rows.dim; ++k) out[k] = r[k];
  });
}

Scorer::Scorer(const Rows& latents, const Rows& sources) : latents_(latents), sources_(sources) {
  const bool x32 = latents.dtype == DType::f32;
  const bool y32 = sources.dtype == DType::f32;
  const bool centred = latents.mean != nullptr;
  if (centred) {
    dot_ = x32 ? (y32 ? dot_rows<float, true, float> : dot_rows<float, true, double>)
               : (y32 ? dot_rows<double, true, float> : dot_rows<double, true, double>);
  } else {
    dot_ = x32 ? (y32 ? dot_rows<float, false, float> : dot_rows<float, false, double>)
               : (y32 ? dot_rows<double, false, float> : dot_rows<double, false, double>);
  }
}

void Scorer::prefetch(int64_t latent_row) const {
  const int64_t bytes = latents_.dim * (latents_.dtype == DType::f32 ? 4 : 8);
  const char* p = static_cast<const char*>(latents_.data) + latent_row * bytes;
  // The hardware follows once the first lines of a row are asked for.
  for (int64_t at = 0; at < bytes && at < 512; at += 64) __builtin_prefetch(p + at);
}

bool Scorer::exact_products() const {
  return latents_.dtype == DType::f32 && sources_.dtype == DType::f32 && latents_.mean == nullptr;
}

}  // namespace gtn
