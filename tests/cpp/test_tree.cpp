// The tree of directions: its loops in every instruction set, its boxes, and the promise of the
// shortlist that walks it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "cpu/divider.hpp"
#include "cpu/instruction_sets.hpp"
#include "cpu/shortlist_tree.hpp"
#include "promise.hpp"

using promise::Bench;
using reference::Kind;

namespace {

std::vector<const gtn::TreeKernel*> tree_kernels() {
  std::vector<const gtn::TreeKernel*> kernels;
  for (const auto& set : gtn::instruction_sets()) {
    if (!set.supported()) continue;
    if (kernels.empty() || kernels.back() != set.tree) kernels.push_back(set.tree);
  }
  return kernels;
}

}  // namespace

TEST_CASE("loops of a tree give the distances and products of plain sums") {
  std::mt19937_64 random(3);
  const auto uniform = [&] { return static_cast<float>(random() >> 40) * 0x1p-23f - 1.0f; };
  for (const gtn::TreeKernel* kernel : tree_kernels()) {
    for (const int64_t dim : {1, 2, 3, 5, 8, 16}) {
      std::vector<float> point(static_cast<size_t>(dim));
      std::vector<float> boxes(static_cast<size_t>(dim * 32)), w(static_cast<size_t>(dim * 64));
      for (float& v : point) v = uniform();
      for (float& v : w) v = uniform();
      for (size_t at = 0; at < boxes.size(); at += 32) {
        for (size_t lane = 0; lane < 16; ++lane) {
          const float a = uniform(), b = uniform();
          boxes[at + lane] = lane == 7 ? std::numeric_limits<float>::infinity() : std::min(a, b);
          boxes[at + lane + 16] = lane == 7 ? boxes[at + lane] : std::max(a, b);
        }
      }
      float squared[16];
      const float limit = 0.1f * static_cast<float>(dim);
      const uint32_t near = kernel->near_boxes(boxes.data(), point.data(), dim, limit, squared);
      for (size_t lane = 0; lane < 16; ++lane) {
        double sum = 0.0;
        for (size_t k = 0; k < point.size(); ++k) {
          const double p = point[k], low = boxes[k * 32 + lane], high = boxes[k * 32 + lane + 16];
          const double gap = std::max({low - p, p - high, 0.0});
          sum += gap * gap;
        }
        CHECK((near >> lane & 1) == (squared[lane] <= limit));
        if (lane == 7) {
          CHECK(std::isinf(squared[lane]));
        } else {
          CHECK(std::fabs(static_cast<double>(squared[lane]) - sum) <= 1e-6 * sum);
        }
      }
      for (const int32_t live : {0, 1, 17, 63, 64}) {
        float products[80];
        int32_t places[80];
        const int32_t hits = live == 0 ? 0
                                       : kernel->leaf_hits(w.data(), point.data(), dim, live, 0.0f,
                                                           products, places);
        int32_t at = 0;
        for (int32_t lane = 0; lane < live; ++lane) {
          double sum = 0.0;
          for (size_t k = 0; k < point.size(); ++k) {
            sum += static_cast<double>(point[k]) *
                   static_cast<double>(w[k * 64 + static_cast<size_t>(lane)]);
          }
          const bool hit = at < hits && places[at] == lane;
          if (std::fabs(sum) > 1e-5) CHECK(hit == (sum >= 0.0));
          if (!hit) continue;
          CHECK(std::fabs(static_cast<double>(products[at]) - sum) <= 1e-5);
          ++at;
        }
        CHECK(at == hits);
      }
    }
  }
}

TEST_CASE("loops of a tree with prices give the values of plain sums") {
  std::mt19937_64 random(4);
  const auto uniform = [&] { return static_cast<float>(random() >> 40) * 0x1p-23f - 1.0f; };
  constexpr float kFar = std::numeric_limits<float>::infinity();
  for (const gtn::TreeKernel* kernel : tree_kernels()) {
    for (const size_t dim : {1, 2, 3, 5, 8, 16}) {
      std::vector<float> point(dim), prices(64), group((dim + 1) * 48), w(dim * 64);
      for (std::vector<float>* values : {&point, &prices, &w, &group}) {
        for (float& v : *values) v = uniform();
      }
      float* const tail = group.data() + dim * 48;
      for (size_t lane = 0; lane < 16; ++lane) {
        for (size_t k = 0; k < dim; ++k) {
          float& half = group[k * 48 + 16 + lane];
          half = std::fabs(half);
        }
        tail[lane] = std::ldexp(1.5f + tail[lane], static_cast<int>(lane) - 8);
        tail[16 + lane] = 1.0f / tail[lane];
      }
      tail[32 + 7] = kFar;
      const auto d = static_cast<int64_t>(dim);
      float values[16];
      const uint32_t far = kernel->far_boxes(group.data(), point.data(), d, 0.1f, values);
      CHECK((far >> 7 & 1) == 0);
      for (size_t lane = 0; lane < 16; ++lane) {
        if (lane == 7) continue;
        double most = -static_cast<double>(tail[32 + lane]);
        const double bend = tail[lane];
        for (size_t k = 0; k < dim; ++k) {
          const float* own = group.data() + k * 48 + lane;
          const double slope = static_cast<double>(point[k]) - static_cast<double>(own[32]);
          const double half = own[16], top = std::clamp(slope / bend, -half, half);
          most += static_cast<double>(point[k]) * static_cast<double>(own[0]);
          most += top * slope - 0.5 * bend * top * top;
        }
        CHECK((far >> lane & 1) == (values[lane] >= 0.1f));
        CHECK(static_cast<double>(values[lane]) == doctest::Approx(most).epsilon(1e-5));
      }
      for (const int32_t live : {1, 17, 63, 64}) {
        float products[80];
        int32_t places[80];
        const int32_t hits = kernel->priced_hits(w.data(), prices.data(), point.data(), d, live,
                                                 0.1f, products, places);
        int32_t at = 0;
        for (int32_t lane = 0; lane < live; ++lane) {
          const auto i = static_cast<size_t>(lane);
          double sum = 0.0;
          for (size_t k = 0; k < dim; ++k) {
            sum += static_cast<double>(point[k]) * static_cast<double>(w[k * 64 + i]);
          }
          const double value = sum - static_cast<double>(prices[i]);
          const bool hit = at < hits && places[at] == lane;
          if (std::fabs(value - 0.1) > 1e-5) CHECK(hit == (value >= 0.1));
          if (!hit) continue;
          CHECK(std::fabs(static_cast<double>(products[at]) - sum) <= 1e-5);
          ++at;
        }
        CHECK(at == hits);
      }
    }
  }
}

TEST_CASE("a divider keeps every row and parts them along a plane") {
  for (const int64_t n : {1, 2, 3, 1000}) {
    std::mt19937_64 random(5);
    std::vector<float> points(static_cast<size_t>(3 * n));
    for (float& v : points) v = static_cast<float>(random() % 100);
    gtn::Divider divider(points, 3);
    divider.divide_all(0, n, 2);
    std::vector<int32_t> rows;
    for (int64_t i = 0; i < n; ++i) rows.push_back(divider.row(i));
    std::sort(rows.begin(), rows.end());
    CHECK(rows == reference::all_rows(n));
  }
  gtn::Divider divider({5.0f, 0.1f, 1.0f, 0.2f, 3.0f, 0.3f, 9.0f, 0.4f}, 2);
  divider.divide(0, 2, 4);
  CHECK(std::min(divider.row(0), divider.row(1)) == 1);
  CHECK(std::max(divider.row(0), divider.row(1)) == 2);
}

TEST_CASE("boxes hold what is below them, and nothing once it is empty") {
  for (const int64_t n : {1, 63, 1100, 20000}) {
    Bench b(Kind::off_centre, n, 4);
    gtn::DirectionTree tree(b.scorer, b.free, b.parallel);
    CHECK(tree.live() == n);
    for (const int32_t stride : {3, 2, 1}) {
      tree.remove(b.take(0, stride), b.parallel);
      tree.remove(b.take(0, stride), b.parallel);  // nothing is left to take: no change
      const size_t last = tree.levels() - 1;
      int64_t live = 0, broken = 0;
      std::vector<double> v(4);
      for (int64_t slot = 0; slot < tree.leaf_count(); ++slot) {
        const float* box = tree.group(last, slot / 16) + slot % 16;
        if (tree.leaf(slot).live == 0) broken += !std::isinf(box[0]);
        for (int32_t i = 0; i < tree.leaf(slot).live; ++i) {
          const int32_t id = tree.ids(slot)[i];
          broken += !b.free.is_free(id);
          ++live;
          gtn::widen_row(b.scorer.latents(), b.distinct.row(id), v.data());
          for (size_t k = 0; k < 4; ++k) {
            const double unit = v[k] / b.distinct.norm(id);
            broken += unit < static_cast<double>(box[32 * k]);
            broken += unit > static_cast<double>(box[32 * k + 16]);
          }
        }
      }
      for (size_t level = last; level > 0; --level) {
        for (int64_t g = 0; g < tree.groups(level); ++g) {
          const float* inner = tree.group(level, g);
          const float* outer = tree.group(level - 1, g / 16) + g % 16;
          for (int at = 0; at < 16; ++at) {
            if (std::isinf(inner[at])) continue;
            for (int k = 0; k < 4; ++k) {
              broken += inner[32 * k + at] < outer[32 * k];
              broken += inner[32 * k + 16 + at] > outer[32 * k + 16];
            }
          }
        }
      }
      CHECK(broken == 0);
      CHECK(live == b.free.ids());
      CHECK(tree.live() == live);
    }
  }
}

TEST_CASE("walks through a tree keep the promise of shortlists") {
  for (const gtn::TreeKernel* kernel : tree_kernels()) {
    for (const Kind kind : reference::kKinds) {
      for (const int64_t dim : {1, 2, 3, 7}) {
        Bench b(kind, 2500, dim);
        gtn::TreeShortlist tree(b.scorer, b.free, *kernel, b.parallel);
        for (const int32_t stride : {4, 3, 2, 2}) {
          for (const int64_t depth : {1, 4, 100}) {
            b.check(tree, depth, -2.0, true);
            b.check(tree, depth, 0.1, false);
          }
          tree.remove(b.take(1, stride));
        }
        std::vector<gtn::CandidateList> list(1);  // one alone, as in a walk
        const gtn::Query query{3, b.yn[3]};
        tree.search({&query, 1}, 1, false, list);
        CHECK(!list[0].items.empty());
      }
    }
  }
}
