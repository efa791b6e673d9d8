#include "resource/outlook.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

namespace zerrow::resource {

using enum Task::State;

namespace {

constexpr size_t kMostReady = 4;    // tasks, which are tried
constexpr size_t kMostTasks = 12;   // in the window
constexpr size_t kMostNodes = 24;   // tasks, and tables that they read
constexpr size_t kMostInputs = 8;   // of a task; one with more is left out
constexpr size_t kMostReaders = 8;  // of a table, that are looked at

/// A task of the window, or one that has begun and whose table is read there.
struct Node {
  size_t task = 0;
  int64_t peak_bytes = 0;
  int64_t table_bytes = 0;
  size_t open_readers = 0;
  size_t waiting_for = 0;
  bool finished = false;
  bool resident = false;
  bool kept = false;
  int depth = 0;
  std::array<uint8_t, kMostInputs> inputs = {};
  size_t input_count = 0;
};

class Window {
 public:
  Window(const Run& run, int64_t room_bytes) : run_(run), room_bytes_(room_bytes) {
    for (const Rank& rank : run.ready) {
      if (tried_ == kMostReady) break;
      Add(std::get<2>(rank));
      ++tried_;
    }
    // Breadth first, as nodes are appended.
    for (size_t i = 0; i < count_; ++i) AddReaders(nodes_[i].task);
    const size_t tasks = count_;
    for (size_t i = 0; i < tasks; ++i) Link(nodes_[i]);
  }

  size_t First() const {
    const size_t ranked = std::get<2>(*run_.ready.begin());
    if (tried_ < 2 || AllFit()) return ranked;
    size_t best = ranked;
    int64_t least = std::numeric_limits<int64_t>::max();
    for (size_t i = 0; i < tried_; ++i) {
      for (const Order order : {Order::kByRank, Order::kDeep}) {
        const int64_t excess = ExcessAfter(i, order, least);
        if (excess < least) best = nodes_[i].task, least = excess;
      }
      if (least <= 0) break;
    }
    return best;
  }

 private:
  std::optional<uint8_t> Find(size_t task) const {
    for (size_t i = 0; i < count_; ++i) {
      if (nodes_[i].task == task) return static_cast<uint8_t>(i);
    }
    return std::nullopt;
  }

  void Add(size_t index) {
    const Task& task = run_.tasks[index];
    Node node;
    node.task = index;
    node.peak_bytes = std::max(task.peak_bytes, task.spec.expected.peak_bytes());
    node.table_bytes = task.spec.expected.output_bytes;
    node.open_readers = task.open_readers;
    node.kept = task.spec.kept;
    node.depth = task.depth;
    nodes_[count_++] = node;
  }

  // What a task waits for outside the window never comes.
  void Link(Node& node) {
    const Task& task = run_.tasks[node.task];
    for (const size_t input : task.spec.inputs) {
      auto known = Find(input);
      if (!known && HasBegun(run_.tasks[input])) known = AddBegun(input);
      node.waiting_for += !known || !nodes_[*known].finished;
      if (known && node.input_count < kMostInputs) node.inputs[node.input_count++] = *known;
    }
    if (task.spec.inputs.size() > kMostInputs) ++node.waiting_for;
    for (const size_t other : task.spec.after) {
      node.waiting_for += run_.tasks[other].state != kFinished;
    }
  }

  static bool HasBegun(const Task& task) { return task.state != kWaiting && task.state != kReady; }

  // What attempts will come to is in the room already, so that they might as well have ended.
  std::optional<uint8_t> AddBegun(size_t index) {
    if (count_ == kMostNodes) return std::nullopt;
    const Task& task = run_.tasks[index];
    const bool ended = task.state == kFinished;
    Node node;
    node.task = index;
    node.table_bytes = ended ? task.table_bytes : task.spec.expected.output_bytes;
    node.open_readers = task.open_readers;
    node.finished = true;
    node.resident = !ended || task.resident;
    node.kept = task.spec.kept;
    nodes_[count_] = node;
    return static_cast<uint8_t>(count_++);
  }

  void AddReaders(size_t index) {
    size_t looked_at = 0;
    for (const size_t reader : run_.tasks[index].readers) {
      if (++looked_at > kMostReaders || count_ == kMostTasks) return;
      if (run_.tasks[reader].state == kWaiting && !Find(reader)) Add(reader);
    }
  }

  bool AllFit() const {
    int64_t bytes = 0;
    int64_t most = 0;
    for (const Node& node : std::span(nodes_).first(count_)) {
      if (!node.finished || !node.resident) bytes += node.table_bytes;
      most = std::max(most, node.peak_bytes);
    }
    return bytes + most <= room_bytes_;
  }

  // What follows: as ranks say, or what is furthest along.
  enum class Order { kByRank, kDeep };
  using Nodes = std::array<Node, kMostNodes>;

  // As Lifecycle ranks ready tasks.
  static int64_t AddedBytes(const Nodes& nodes, const Node& node) {
    int64_t bytes = node.open_readers > 0 || node.kept ? node.table_bytes : 0;
    for (size_t i = 0; i < node.input_count; ++i) {
      const Node& input = nodes[node.inputs[i]];
      if (input.open_readers == 1 && input.resident && !input.kept) bytes -= input.table_bytes;
    }
    return bytes;
  }

  Node* Next(Nodes& nodes, Order order) const {
    Node* next = nullptr;
    std::tuple<int, int64_t, int, size_t> least;
    for (Node& node : std::span(nodes).first(count_)) {
      if (node.finished || node.waiting_for > 0) continue;
      const int depth = order == Order::kDeep ? node.depth : 0;
      const std::tuple rank = {-depth, AddedBytes(nodes, node), -node.depth, node.task};
      if (next == nullptr || rank < least) next = &node, least = rank;
    }
    return next;
  }

  // Beyond the room, of what is needed at once when that task comes first; `enough` or more: no
  // matter how much.
  int64_t ExcessAfter(size_t first, Order order, int64_t enough) const {
    Nodes nodes = nodes_;
    int64_t held = 0;
    int64_t most = 0;
    for (Node* node = &nodes[first]; node != nullptr; node = Next(nodes, order)) {
      for (size_t i = 0; i < node->input_count; ++i) {
        Node& input = nodes[node->inputs[i]];
        if (!std::exchange(input.resident, true)) held += input.table_bytes;
      }
      most = std::max(most, held + node->peak_bytes);
      if (most - room_bytes_ >= enough) break;
      Finish(nodes, *node, held);
    }
    return most - room_bytes_;
  }

  void Finish(Nodes& nodes, Node& node, int64_t& held) const {
    node.finished = true;
    node.resident = node.open_readers > 0 || node.kept;
    if (node.resident) held += node.table_bytes;
    for (size_t i = 0; i < node.input_count; ++i) {
      Node& input = nodes[node.inputs[i]];
      if (--input.open_readers > 0 || input.kept) continue;
      input.resident = false;
      held -= input.table_bytes;
    }
    const auto made = static_cast<uint8_t>(&node - nodes.data());
    for (Node& reader : std::span(nodes).first(count_)) {
      for (size_t i = 0; i < reader.input_count; ++i) {
        if (reader.inputs[i] == made) --reader.waiting_for;
      }
    }
  }

  const Run& run_;
  const int64_t room_bytes_;
  Nodes nodes_;
  size_t count_ = 0;
  size_t tried_ = 0;
};

}  // namespace

size_t FirstByOutlook(const Run& run, int64_t room_bytes) {
  if (run.ready.size() < 2) return std::get<2>(*run.ready.begin());
  return Window(run, room_bytes).First();
}

}  // namespace zerrow::resource
