// The scan of a group of sources over the panels of the codes: hits become entries, entries raise
// the sources' pruning thresholds, and these set the least sums that the kernels report. One Scan
// is one thread's work space, used again and again. shortlist_cpu.hpp shares out the work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/shortlist.hpp"
#include "cpu/codes.hpp"
#include "cpu/kernels.hpp"

namespace gtn {

// A source ready for scanning. Thresholds, bases and floors are cosines.
struct CodedSource {
  SourceCode code;
  const std::byte* bytes = nullptr;  // its codes: [steps][4]
  const double* base = nullptr;      // [cells]: cosine with each centre
  size_t query = 0;                  // its place among the queries
  double norm = 0.0;
  double floor = -kInfinity;
  double level = -kInfinity;  // largest base of a cell: what guesses are relative to
  int32_t nearest = 0;        // that cell
};

struct ScanSettings {
  int64_t depth = 1;          // latents a list should be able to certify
  double guess = -kInfinity;  // initial thresholds, above the sources' levels
  // The pruning threshold is the depth-th largest lower bound of a source's entries, where
  // lower = score - caution * error. caution = 1 is rigorous; smaller values prune harder and
  // sometimes force a rescan.
  double caution = 1.0;
};

// Result of one source's scan.
struct Scanned {
  double threshold = -kInfinity;  // every latent whose score may reach it is listed
  int64_t close = 0;              // entries that may be the best
  bool truncated = false;  // the threshold rose above what a certificate needs, for lack of room
};

class Scan {
 public:
  // Scans the part-th of `parts` equal shares of the panels for at most kMostSources sources.
  void run(const LatentCodes& codes, const ScanKernel& kernel, const ScanSettings& settings,
           std::span<const CodedSource> sources, int64_t part, int64_t parts);
  // Appends a source's entries to its list; raises the list's outside bound.
  Scanned deliver(size_t i, CandidateList& list) const;

  // Sources that share a panel while it is in cache.
  static int64_t most_sources(int64_t source_bytes);

 private:
  struct Entry {
    double upper;  // >= its true score, a cosine
    int32_t position;
    int32_t band;
  };
  struct Row {
    const CodedSource* source = nullptr;
    double threshold = -kInfinity;
    bool truncated = false;
    size_t room = 0;     // prune beyond
    size_t settled = 0;  // entries that the last pruning left
    std::vector<Entry> entries;
  };

  double unit(const Row& row, const Band& band) const { return band.step * row.source->code.step; }
  double error(const Row& row, const Band& band) const {
    const SourceCode& c = row.source->code;
    const double coded = c.coded_norm * band.residual + c.residual * band.radius + slack_;
    // Prices are rounded to units, and what they are in cosines is rounded.
    return codes_->price_shift() > 0 ? coded + unit(row, band) + 0x1p-50 * band.floor : coded;
  }
  // What a sum of products is added to.
  double base(const Row& row, size_t band) const;
  int32_t least_sum(const Row& row, size_t band) const;
  std::vector<std::pair<double, size_t>> cells_by_reach() const;
  void scan_band(size_t band, int64_t part, int64_t parts);
  void scan_tile(size_t first, size_t band, int64_t begin, int64_t end);
  void take_hits(Row& row, size_t band, const int32_t* sums, const int32_t* positions,
                 int32_t hits);
  void keep_above(Row& row);
  void prune(Row& row);
  double nth_largest(size_t n);
  double reached_by(size_t n);

  const LatentCodes* codes_ = nullptr;
  const ScanKernel* kernel_ = nullptr;
  ScanSettings settings_;
  double slack_ = 0.0;
  size_t count_ = 0, tile_sources_ = 1, source_bytes_ = 0;
  std::vector<Row> rows_;
  // Codes of the group's sources, tile by tile. In whole cache lines: rows of AMX tiles are lines,
  // and loading one that straddles two costs twice.
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> sources_;
  std::vector<Line> packed_;  // of those in open_
  std::byte* code(std::vector<Line>& codes, size_t i) const {
    return reinterpret_cast<std::byte*>(codes.data()) + i * source_bytes_;
  }
  std::vector<int32_t> least_sums_;
  std::vector<int32_t> hit_sums_, hit_positions_;  // of the tile at hand
  std::vector<int32_t> open_;                      // sources that can reach the band at hand
  ScanTile tile_{};
  std::vector<double> scratch_;
  std::vector<int32_t> cell_of_band_;
};

}  // namespace gtn
