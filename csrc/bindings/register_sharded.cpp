// _core.ShardedMatch: Algorithm 1 over latents of many processes, of which this is one; and what
// gtn_label.cluster needs of the contract before it: norms of rows, sums of columns.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/gil.hpp"
#include "bindings/python_exchange.hpp"
#include "bindings/register.hpp"
#include "core/contract.hpp"
#include "core/float_mode.hpp"
#include "core/greedy.hpp"
#include "core/host_shard.hpp"
#include "core/norms.hpp"
#include "core/sharded_pool.hpp"
#include "cpu/backend_cpu.hpp"
#include "cpu/instruction_sets.hpp"
#ifdef GTN_CUDA_BUILT
#include "cuda/backend_cuda.hpp"
#endif

namespace py = pybind11;

namespace gtn {
namespace {

class ShardedMatch {
 public:
  ShardedMatch(py::object latents, Indices index, int64_t total, const std::optional<Values>& mean,
               const std::string& order, int64_t cone, const std::string& instruction_set,
               int threads, int64_t memory, int64_t most_sources, bool float64_sources,
               const std::optional<int>& device, const std::string& kernel, py::object exchange);

  void remove(const Indices& taken);
  void run(const py::object& sources, const Indices& latent, const Values& cosine,
           const py::object& poll);
  py::dict stats() const;

 private:
  void poll() const {
    if (on_poll_ != nullptr) (*on_poll_)();
  }

  py::object latents_;
  Indices index_;
  std::vector<double> mean_;
  Rows rows_, sources_;
  std::unique_ptr<std::byte[]> buffer_;  // the sources of a chunk
  PythonExchange exchange_;
  const PythonPoll* on_poll_ = nullptr;
  // Of its own, as the threads keep a reference to it.
  const std::function<void()> poll_ = [this] { poll(); };
  Parallel parallel_;
  Stats stats_;
  ShardedStats sharded_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<ShardedPool> pool_;
  std::unique_ptr<Greedy> greedy_;
};

ShardedMatch::ShardedMatch(py::object latents, Indices index, int64_t total,
                           const std::optional<Values>& mean, const std::string& order,
                           int64_t cone, const std::string& instruction_set, int threads,
                           int64_t memory, int64_t most_sources, bool float64_sources,
                           const std::optional<int>& device,
                           [[maybe_unused]] const std::string& kernel, py::object exchange)
    : latents_(std::move(latents)),
      index_(std::move(index)),
      exchange_(std::move(exchange)),
      parallel_(std::max(1, threads), Poll(poll_)) {
  rows_ = rows_of(latents_, "latents");
  const std::span<const int64_t> rows = rows_among(index_, rows_, total);
  if (cone < 1 || threads < 1 || memory < 0 || most_sources < 1 || most_sources > INT32_MAX - 64) {
    throw py::value_error("cone, threads and most_sources must be >= 1, memory >= 0");
  }
  if (mean) {
    if (mean->ndim() != 1 || mean->shape(0) != rows_.dim) {
      throw py::value_error("mean must have shape [dim]");
    }
    mean_.assign(mean->data(), mean->data() + rows_.dim);
    rows_.mean = mean_.data();
  }
  sources_.dtype = float64_sources ? DType::f64 : DType::f32;
  sources_.dim = rows_.dim;
  sources_.count = most_sources;
  sources_.name = "sources";
  const size_t item = float64_sources ? 8 : 4;
  buffer_ = std::make_unique<std::byte[]>(item * most_sources * rows_.dim);
  sources_.data = buffer_.get();
  const InstructionSet& set = select_instruction_set(instruction_set);
  const Order preferred = order_of(order);
#ifndef GTN_CUDA_BUILT
  if (device) throw py::value_error(std::string("backend 'cuda' cannot run: ") + GTN_CUDA_MISSING);
#endif
  gil::without_gil([&] {
    const DefaultFloatMode mode;
#ifdef GTN_CUDA_BUILT
    if (device) {
      cuda::Options options;
      options.device = *device;
      options.kernel = kernel;
      options.memory = memory;
      shard_ = cuda::make_shard(rows_, rows, preferred, sources_, options, parallel_, stats_);
      return;
    }
#endif
    stats_.instruction_set = set.name;
    const Backend backend = cpu_backend(set, memory, rows_.count, most_sources, rows_.dim);
    shard_ = std::make_unique<HostShard>(rows_, rows, preferred, sources_, *set.exact, backend,
                                         parallel_, stats_);
  });
  pool_ =
      std::make_unique<ShardedPool>(*shard_, exchange_, total, cone, parallel_, stats_, sharded_);
  greedy_ = std::make_unique<Greedy>(*pool_, cone, parallel_, stats_);
}

void ShardedMatch::remove(const Indices& taken) {
  const std::span<const int64_t> latents = span_of(taken, "taken");
  gil::without_gil([&] { pool_->remove(latents); });
}

void ShardedMatch::run(const py::object& sources, const Indices& latent, const Values& cosine,
                       const py::object& poll) {
  const Rows given = rows_of(sources, "sources");
  const int64_t n = given.count;
  if (given.dim != sources_.dim || given.dtype != sources_.dtype || n > sources_.count) {
    throw py::value_error(
        "sources must have the dim and the dtype of this match, and no more rows "
        "than most_sources");
  }
  if (n > pool_->free()) throw py::value_error("sources must not be more than the free latents");
  if (latent.ndim() != 1 || cosine.ndim() != 1 || latent.shape(0) != n || cosine.shape(0) != n ||
      !latent.writeable() || !cosine.writeable()) {
    throw py::value_error("latent and cosine must be writable, with one entry a source");
  }
  const size_t item = given.dtype == DType::f32 ? 4 : 8;
  int64_t* const latent_of = const_cast<int64_t*>(latent.data());
  double* const cosine_of = const_cast<double*>(cosine.data());
  int64_t done = 0;
  const PythonPoll on_poll(poll, done);
  on_poll_ = &on_poll;
  exchange_.begin();
  const auto ends = [this](const void*) { on_poll_ = nullptr; };
  const std::unique_ptr<const void, decltype(ends)> ending(this, ends);
  gil::without_gil([&] {
    const DefaultFloatMode mode;
    std::memcpy(buffer_.get(), given.data, item * n * given.dim);
    Rows chunk = sources_;
    chunk.count = n;
    const std::vector<double> norms = checked_norms(chunk, parallel_);
    std::vector<SourceRow> all(n);
    std::iota(all.begin(), all.end(), 0);
    greedy_->run(
        all, norms, 0,
        [&](int64_t position, int64_t row, double score) {
          latent_of[position] = row;
          cosine_of[position] = score / norms[position];
        },
        [&](int64_t position) { done = position; });
    pool_->agree();
  });
  on_poll.finish();
}

py::dict ShardedMatch::stats() const {
  py::dict seconds;
  seconds["encode"] = stats_.seconds.encode;
  seconds["search"] = stats_.seconds.search;
  seconds["decide"] = stats_.seconds.decide;
  seconds["exchange"] = sharded_.seconds.exchange;
  seconds["merge"] = sharded_.seconds.merge;
  seconds["walk"] = stats_.seconds.walk;
  seconds["remove"] = stats_.seconds.remove;
  py::dict d;
  d["instruction_set"] = stats_.instruction_set;
  d["arithmetic"] = stats_.arithmetic.empty() ? "float64" : stats_.arithmetic;
  d["threads"] = parallel_.threads();
  d["distinct_latents"] = stats_.distinct;
  d["windows"] = stats_.windows;
  d["collectives"] = sharded_.collectives;
  d["bytes_received"] = sharded_.received;
  d["candidates"] = stats_.candidates;
  d["retries"] = stats_.retries;
  d["conflicts"] = stats_.conflicts;
  d["rescans"] = stats_.rescans;
  d["full_scans"] = stats_.full_scans;
  d["seconds"] = seconds;
  return d;
}

Values row_norms(const py::object& rows, const std::optional<Values>& mean, int threads) {
  Rows of = rows_of(rows, "rows");
  if (mean) {
    if (mean->ndim() != 1 || mean->shape(0) != of.dim) {
      throw py::value_error("mean must have shape [dim]");
    }
    of.mean = mean->data();
  }
  Values norms(of.count);
  double* const out = norms.mutable_data();
  gil::without_gil([&] {
    const DefaultFloatMode mode;
    Parallel parallel(std::max(1, threads));
    parallel.run(of.count, 1024, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) out[i] = std::sqrt(squared_norm(of, i));
    });
  });
  return norms;
}

Values column_sums(const py::object& rows) {
  const Rows of = rows_of(rows, "rows");
  Values sums(of.dim);
  double* const out = sums.mutable_data();
  std::fill(out, out + of.dim, 0.0);
  gil::without_gil([&] {
    const DefaultFloatMode mode;
    add_rows(of, 0, of.count, out);
  });
  return sums;
}

}  // namespace

void register_sharded(py::module_& m) {
  py::class_<ShardedMatch>(m, "ShardedMatch",
                           "Algorithm 1 over the latents of many processes: this one's part.")
      .def(py::init<py::object, Indices, int64_t, const std::optional<Values>&, const std::string&,
                    int64_t, const std::string&, int, int64_t, int64_t, bool,
                    const std::optional<int>&, const std::string&, py::object>(),
           py::arg("latents"), py::arg("index"), py::kw_only(), py::arg("total"),
           py::arg("mean").none(true), py::arg("order"), py::arg("cone"),
           py::arg("instruction_set"), py::arg("threads"), py::arg("memory"),
           py::arg("most_sources"), py::arg("float64_sources"),
           py::arg("device").none(true) = py::none(), py::arg("kernel") = "", py::arg("exchange"))
      .def("remove", &ShardedMatch::remove, py::arg("taken"))
      .def("run", &ShardedMatch::run, py::arg("sources"), py::kw_only(),
           py::arg("latent").noconvert(), py::arg("cosine").noconvert(), py::arg("poll").none(true))
      .def("stats", &ShardedMatch::stats);
  m.def("row_norms", &row_norms, py::arg("rows"), py::kw_only(),
        py::arg("mean").none(true) = py::none(), py::arg("threads") = 1,
        "The contract's norms of rows; of any values.");
  m.def("column_sums", &column_sums, py::arg("rows"),
        "Sums of columns, rows added in ascending order.");
}

}  // namespace gtn
