#include "engine/estimates.h"

// The hash that Arrow itself uses, from its headers.
#define XXH_INLINE_ALL
#include <arrow/vendored/xxhash.h>

#include <algorithm>
#include <string_view>

namespace zerrow::engine {

using resource::Expectation;
using resource::TaskSpec;

namespace {

// Of tasks whose memory doesn't grow with what they read.
constexpr int64_t kSmallBytes = int64_t{16} << 20;
// An exported table is encoded by row groups.
constexpr int64_t kMostOfExport = int64_t{64} << 20;

int64_t Sum(int64_t a, int64_t b) { return std::min(a + b, Observation::kMostBytes); }

// Fields one after the other, each with its length, so that no two lists of them are the same text.
class Hasher {
 public:
  Hasher() { XXH3_128bits_reset(&state_); }

  Hasher& operator<<(std::string_view text) {
    *this << static_cast<int64_t>(text.size());
    XXH3_128bits_update(&state_, text.data(), text.size());
    return *this;
  }
  Hasher& operator<<(int64_t number) {
    XXH3_128bits_update(&state_, &number, sizeof(number));
    return *this;
  }
  Hasher& operator<<(const std::vector<std::string>& texts) {
    *this << static_cast<int64_t>(texts.size());
    for (const std::string& text : texts) *this << text;
    return *this;
  }
  template <typename T>
  Hasher& operator<<(const std::optional<T>& value) {
    *this << int64_t{value.has_value()};
    return value ? *this << *value : *this;
  }

  CodeKey Finish() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(&state_);
    return {hash.low64, hash.high64};
  }

 private:
  XXH3_state_t state_;
};

void HashModel(Hasher& hasher, const Plan& plan, const ModelDescription& model) {
  if (model.environment) hasher << model.environment->python << model.environment->packages;
  hasher << model.name << model.code << model.function << model.sql << model.engine;
  hasher << (model.operator_.is_null() ? "" : model.operator_.dump()) << model.column_names();
  for (const OutputColumn& column : model.columns.value_or(std::vector<OutputColumn>())) {
    hasher << column.type;
  }
  for (const ParameterUse& use : model.parameters) {
    hasher << use.argument;
    for (const ParameterDescription& parameter : plan.parameters) {
      if (parameter.name == use.name) hasher << parameter.value.dump();
    }
  }
}

void HashReads(Hasher& hasher, const PlanNode& source) {
  for (const SourceRead& read : source.reads) {
    hasher << read.columns << read.filter << int64_t{read.dictionary};
  }
}

// Of a source's table, which has so many bytes, the part that the input is.
int64_t PartOf(const PlanInput& input, const PlanNode& producer, int64_t table_bytes) {
  if (producer.reads.size() < 2 || producer.source_bytes == 0) return table_bytes;
  const double part = static_cast<double>(producer.read_bytes[input.read]) /
                      static_cast<double>(producer.source_bytes);
  return static_cast<int64_t>(static_cast<double>(table_bytes) * part);
}

// What the node reads; of a source, as its files' footers tell. `table_bytes` of a node before it.
template <typename TableBytes>
int64_t InputBytes(const Plan& plan, const PlanNode& node, TableBytes table_bytes) {
  if (node.kind == ModelKind::kSource) return std::min(node.source_bytes, Observation::kMostBytes);
  int64_t bytes = 0;
  for (const PlanInput& input : node.inputs) {
    bytes = Sum(bytes, PartOf(input, plan.nodes[input.node], table_bytes(input.node)));
  }
  return bytes;
}

// Of code that was never seen its table's size alone is supposed, for what comes after it; but
// reading files takes what they hold.
Observation Guess(const PlanNode& node, int64_t input_bytes) {
  Observation guess;
  guess.input_bytes = input_bytes;
  if (node.has_table()) guess.table_bytes = input_bytes;
  if (node.kind != ModelKind::kSource) return guess;
  guess.new_bytes = input_bytes;
  guess.peak_bytes = Sum(input_bytes, kSmallBytes);
  return guess;
}

Expectation ExpectationOf(const PlanNode& node, const Observation& taken) {
  Expectation expected;
  const int64_t peak =
      node.model.memory_bytes.value_or(std::max(taken.peak_bytes, taken.new_bytes));
  expected.output_bytes = std::min(taken.new_bytes, peak);
  expected.private_bytes = peak - expected.output_bytes;
  expected.run_s = taken.run_s;
  return expected;
}

// Of what isn't a node's. Of reading the project and of gates nothing is expected.
Expectation ExpectationOf(RunTask::Kind kind, int64_t table_bytes) {
  Expectation expected;
  if (kind != RunTask::Kind::kExport && kind != RunTask::Kind::kPreview) return expected;
  expected.private_bytes =
      kind == RunTask::Kind::kExport ? std::min(table_bytes, kMostOfExport) : kSmallBytes;
  return expected;
}

CodeKey KeyOf(const Plan& plan, size_t node_index, const std::string& project_dir,
              BackendKind backend) {
  const PlanNode& node = plan.nodes[node_index];
  Hasher hasher;
  hasher << ToString(node.kind) << ToString(backend);
  if (node.of_source()) hasher << project_dir << node.source.table;
  if (node.kind == ModelKind::kSource) HashReads(hasher, node);
  for (const PlanInput& input : node.inputs) {
    const PlanNode& producer = plan.nodes[input.node];
    hasher << input.parameter << (producer.of_source() ? producer.source.table : producer.name);
    hasher << input.columns << input.filter << static_cast<int64_t>(input.dictionary);
    if (producer.kind == ModelKind::kSource) {
      const SourceRead& read = producer.reads[input.read];
      hasher << read.columns << read.filter << int64_t{read.dictionary};
    }
  }
  if (!node.of_source()) HashModel(hasher, plan, node.model);
  return hasher.Finish();
}

}  // namespace

CodeKey KeyOf(const Run& run, size_t node) {
  return KeyOf(run.plan(), node, run.request().options.project_dir, run.request().backend);
}

std::vector<NodeEstimate> EstimateNodes(const Plan& plan, const std::string& project_dir,
                                        BackendKind backend, const History* history) {
  std::vector<NodeEstimate> estimates(plan.nodes.size());
  const auto table_bytes = [&](size_t node) { return estimates[node].takes.table_bytes; };
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const int64_t input_bytes = InputBytes(plan, plan.nodes[i], table_bytes);
    std::optional<Observation> taken;
    if (history != nullptr) {
      const CodeKey key = KeyOf(plan, i, project_dir, backend);
      taken = history->Lookup(key, input_bytes);
      estimates[i].varies = history->Varies(key);
    }
    estimates[i].known = taken.has_value();
    estimates[i].takes = taken ? *taken : Guess(plan.nodes[i], input_bytes);
  }
  return estimates;
}

void Estimates::Fill(const Run& run, std::vector<TaskSpec>& tasks) const {
  const Plan& plan = run.plan();
  const auto estimates =
      EstimateNodes(plan, run.request().options.project_dir, run.request().backend, history_);
  const size_t first = run.task_count() - tasks.size();
  for (size_t i = 0; i < tasks.size(); ++i) {
    const RunTask& task = run.task(first + i);
    if (task.kind != RunTask::Kind::kNode) {
      const bool reads_table = task.node < estimates.size();
      const int64_t bytes = reads_table ? estimates[task.node].takes.table_bytes : 0;
      tasks[i].expected = ExpectationOf(task.kind, bytes);
      continue;
    }
    const NodeEstimate& estimate = estimates[task.node];
    if (estimate.varies) tasks[i].deterministic = false;
    tasks[i].expected = ExpectationOf(plan.nodes[task.node], estimate.takes);
  }
}

void Estimates::NoteVarying(const Run& run, size_t task) const {
  const RunTask& what = run.task(task);
  // Files that change during a run are no property of what reads them.
  if (history_ == nullptr || run.plan().nodes[what.node].of_source()) return;
  history_->NoteVarying(KeyOf(run, what.node));
}

void Estimates::Note(const Run& run, size_t task, std::optional<int64_t> charged_peak_bytes) const {
  const RunTask& what = run.task(task);
  if (history_ == nullptr || what.kind != RunTask::Kind::kNode) return;
  const ModelReport& report = run.models()[what.node];
  Observation taken;
  taken.input_bytes = InputBytes(run.plan(), run.plan().nodes[what.node], [&](size_t producer) {
    return run.models()[producer].bytes.total();
  });
  taken.table_bytes = report.bytes.total();
  taken.new_bytes = report.bytes.new_bytes + report.bytes.copied_bytes;
  const bool maps_inputs = run.plan().nodes[what.node].kind != ModelKind::kSource;
  const int64_t own_bytes = report.peak_memory_bytes - (maps_inputs ? taken.input_bytes : 0);
  taken.peak_bytes = charged_peak_bytes.value_or(std::max(own_bytes, taken.new_bytes));
  taken.run_s = report.wall_s;
  history_->Note(KeyOf(run, what.node), taken);
}

}  // namespace zerrow::engine
