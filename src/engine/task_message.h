// The task that a worker is given: a JSON message and the descriptors that go with it.
//
// Pure but for borrowing descriptors: a message must be sent while the tables that it was made
// from are held. docs/formats/worker_protocol.md says what is in it. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/plan.h"
#include "engine/published_table.h"
#include "zerrow/run.h"

namespace zerrow::engine {

struct TaskMessage {
  nlohmann::json body;
  std::vector<int> fds;  // borrowed
};

class TaskMessages {
 public:
  /// Both outlive this. `backend` isn't kAuto.
  TaskMessages(const RunOptions& options, const Plan& plan, std::string project_dir,
               BackendKind backend)
      : options_(options), plan_(plan), project_dir_(std::move(project_dir)), backend_(backend) {}

  TaskMessage Discover() const;
  /// `inputs`: the table of each of the node's inputs, in their order.
  TaskMessage Node(const PlanNode& node, const std::vector<const PublishedTable*>& inputs) const;
  TaskMessage Preview(const PlanNode& node, const PublishedTable& table, int64_t rows) const;
  TaskMessage Export(const PlanNode& node, const PublishedTable& table,
                     const std::string& path) const;

 private:
  TaskMessage Empty(std::string_view kind) const;
  nlohmann::json ParameterValues(const ModelDescription& model) const;
  void AddInput(TaskMessage& task, const std::string& parameter, const PlanNode& producer,
                const PlanInput& input, const PublishedTable& table) const;

  const RunOptions& options_;
  const Plan& plan_;
  const std::string project_dir_;
  const BackendKind backend_;
};

}  // namespace zerrow::engine
